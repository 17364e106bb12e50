"""SparseVLM keeps and clusters what its official code does on the same inputs, and in the engine what plain loops do."""

import pytest
import torch

import aim
from aim.kernels.rating import question_raters, rated_attention
from aim.kernels.recycling import left_of, recycle, recycled_of
from aim.kernels.refusal import Refusal
from aim.planning.plan import plan
from tests.official import input_of, llm, rivals
from tests.tiny import clip_inputs, llava_onevision

CASES = {name: case for name, case in rivals("sparsevlm").items() if case["stable"]}
SEVEN_B = "llava-onevision-qwen2-7b"
FIRST, PATCHES, ASKED = 3, 100, 6  # of `clip_inputs()`: three words, four frames of 5 x 5 patches, a newline, six words


@pytest.mark.parametrize("name", CASES)
def test_it_keeps_and_clusters_what_the_official_code_does(name):
    case, layer = CASES[name], llm(*input_of(name)[:2])
    first, end = layer["visual"]
    states, tokens = layer["hidden"][first:end], end - first
    raters = question_raters(layer["hidden"][end:], states)
    assert raters.nonzero().flatten().tolist() == case["raters"]
    kept = int(input_of(name)[2] * tokens)
    assert recycled_of(tokens - kept) == (case["recycled"], case["clusters"]) and left_of(tokens, kept) == case["tokens_out"]
    score = rated_attention(layer["query"][:, end:], layer["key"], layer["scaling"], raters)[first:end]
    left, new, into, centres = recycle(states, score, kept, case["clusters"])
    weights = (into == torch.arange(len(left))[:, None]).float()
    weights /= weights.sum(dim=1, keepdim=True)
    torch.testing.assert_close(new, weights @ states, atol=1e-4, rtol=0)
    # The official order is that of the kept tokens' places, and then the clusters from the best on.
    row = {token: number for number, token in enumerate(left.tolist())}
    order = [row[token] for token in left.tolist() if token not in centres] + [row[token] for token in centres.tolist()]
    assert left[order[:kept]].tolist() == case["kept"].tolist()
    torch.testing.assert_close(weights[order], case["weights"], atol=1e-4, rtol=0)


def test_the_engine_asks_the_raters_alone(monkeypatch):
    model, inputs, given = llava_onevision(), clip_inputs(), []
    own = aim.SparseVLM.score
    monkeypatch.setattr(aim.SparseVLM, "score", lambda self, *args: given.append(args) or own(self, *args))
    with torch.no_grad(), aim.reduce(model, aim.SparseVLM(keep_ratio=0.3, stages=(2, 4, 5))) as trace:
        model(**inputs)
    query, key, _, raters = given[0]
    embedded = model.get_input_embeddings()(inputs["input_ids"][0, -ASKED:])
    with torch.no_grad():
        patches = model.model.get_video_features(inputs["pixel_values_videos"]).pooler_output.reshape(-1, 32)[:PATCHES]
    shares = torch.stack([(embedded @ patch).softmax(0) for patch in patches]).mean(0)
    assert query.shape[1] == ASKED and key.shape[1] == FIRST + PATCHES + 1 + ASKED
    assert raters[-ASKED:].tolist() == (shares > shares.mean()).tolist() and not raters[:-ASKED].any()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        paid = model(**inputs, output_attentions=True).attentions[1][0].mean(dim=0)[-ASKED:][raters[-ASKED:]].mean(dim=0)
    torch.testing.assert_close(trace.scores[1], paid[FIRST : FIRST + PATCHES], atol=1e-6, rtol=1e-4)
    ranked = sorted(range(PATCHES), key=lambda place: -float(paid[FIRST + place]))
    kept, (recycled, clusters) = ranked[:46], recycled_of(54)
    assert set(kept) < set(trace.survivors[2].tolist()) and len(trace.survivors[2]) == 46 + clusters
    assert {place for place in range(PATCHES) if trace.held_in(2)[place] >= 0} == {*kept, *ranked[46 : 46 + recycled]}


def test_its_counts_are_the_official_ones_at_the_default_and_the_clusters_come_on_top():
    per_layer = aim.SparseVLM().kept(32, 576)
    assert per_layer[:3] == [576] * 3 and per_layer[3:7] == [300 + 9] * 4
    assert per_layer[7:16] == [200 + 4] * 9 and per_layer[16:] == [110 + 3] * 16
    assert aim.SparseVLM().for_depth(28).stages == (3, 6, 14) and aim.SparseVLM().for_depth(2).stages == (1, 1, 1)
    assert aim.SparseVLM(keep_ratio=1).kept(32, 576) == [576] * 32
    planned = plan(SEVEN_B, 32, 100, aim.SparseVLM(keep_ratio=0.2))
    assert planned.importance_tflops > plan(SEVEN_B, 32, 100, aim.FastV()).importance_tflops


def test_ratios_rise_to_all_tokens():
    counts = [aim.SparseVLM(keep_ratio=step / 50).kept(32, 588) for step in range(1, 51)]
    assert all(sum(less) <= sum(more) for less, more in zip(counts, counts[1:], strict=False)) and counts[-1] == [588] * 32


@pytest.mark.parametrize("keep_ratio", [0.01, 0.4, 0.99])
def test_its_choice_fills_another_methods_schedule(keep_ratio):
    model = llava_onevision()
    composed = aim.Composed(scorer=aim.SparseVLM(), schedule=aim.FastV(layer=2, keep_ratio=keep_ratio))
    with torch.no_grad(), aim.reduce(model, composed) as trace:
        model(**clip_inputs())
    assert len(trace.survivors[2].unique()) == trace.tokens_per_layer[2][0] == round(100 * keep_ratio)


def test_where_no_token_of_the_question_stands_out_all_rate():
    assert question_raters(torch.ones(1, 4), torch.randn(5, 4)).tolist() == [True]


@pytest.mark.parametrize("stages", [(3, 7), (3, 16, 7), (0, 1, 2)])
def test_stages_that_are_not_three_ascending_layers_are_refused(stages):
    with pytest.raises(Refusal, match="stages is|an entry of stages is 0"):
        aim.SparseVLM(stages=stages)


def test_shapes_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="pass \\[H, q, d\\]"):
        rated_attention(torch.randn(4, 3, 8), torch.randn(2, 9, 8), 1.0, torch.ones(2).bool())
