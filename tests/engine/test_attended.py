"""What each generated token looked at, against the attention maps that the stock model makes with eager attention."""

import pytest
import torch

import aim
from aim.engine import session
from aim.engine.attended import Attended
from aim.kernels.refusal import Refusal
from aim.kernels.row_attention import row_attention
from aim.kernels.trace import Trace
from tests.attention import random_attention
from tests.tiny import FEWER, IMAGE, TINY, VIDEO

TOKENS = 4
HALF = 2**-11  # what rounding to float16 may change, of a number up to 1


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


def answer(model, inputs, method, tokens=TOKENS):
    with aim.reduce(model, method, attention=True) as trace, torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return ids[0, inputs["input_ids"].shape[1] :], trace


def eager_rows(model, inputs):
    """token → layer → attention [prompt] of the last token of each forward, from the maps of the stock model under eager attention."""
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False, output_attentions=True, return_dict_in_generate=True)
    finally:
        model.set_attn_implementation("sdpa")
    length = inputs["input_ids"].shape[1]
    return [[layer[0, :, -1, :length].mean(0) for layer in step] for step in output.attentions]


@pytest.mark.parametrize("kind", ["video", "images"])
def test_it_is_the_row_of_the_eager_map_in_every_layer_and_step(family, model, kind):
    inputs = family.video_inputs() if kind == "video" else family.image_inputs()
    _, trace = answer(model, inputs, aim.Full())
    expected = eager_rows(model, inputs)
    ids = inputs["input_ids"][0]
    placeholders = ((ids == IMAGE) | (ids == VIDEO)).nonzero().flatten()
    if family.tiled and kind == "images":  # 10 x 10 patches, and 10 rows of 16 with a newline behind each
        placeholders = placeholders[torch.tensor(([True] * 100 + ([True] * 16 + [False]) * 10) * 3)]
    elif len(placeholders) != trace.visual_tokens:  # a LLaVA-OneVision clip, or an image or Granite's frame, ends with a newline
        run = (len(placeholders) - trace.visual_tokens, len(placeholders))
        assert family in (TINY["llava_onevision"], TINY["granite4_vision"]) and run[0] in (1, 3, 4)
        each = run[1] // run[0]
        placeholders = placeholders[(torch.arange(run[1]) + 1) % each != 0]
    assert len(trace.attention) == len(expected) == TOKENS
    for rows, layers in zip(trace.attention, expected, strict=True):
        assert [row is None for row in rows] == [not count for count in family.watched([1] * len(rows))]
        attending = [row for row, attends in zip(rows, family.cached([1] * len(rows)), strict=True) if attends]
        for row, whole in zip(attending, layers, strict=True):
            if row is not None:
                torch.testing.assert_close(row.float(), whole[placeholders], atol=2 * HALF, rtol=0)


@pytest.mark.parametrize("method", [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.PyramidDrop(ratio=0.5)], ids=lambda method: method.name)
def test_a_reduced_run_has_a_share_for_every_token_alive_and_says_the_same(family, model, method):
    inputs = family.video_inputs()
    ids, trace = answer(model, inputs, method)
    with aim.reduce(model, method), torch.no_grad():
        plain = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    assert torch.equal(ids, plain[0, -TOKENS:])
    counts = [[0 if row is None else len(row) for row in rows] for rows in trace.attention]
    assert counts == [family.watched([len(alive) for alive in trace.survivors])] * TOKENS
    for token in range(TOKENS):
        for layer, alive in enumerate(trace.survivors):
            if trace.attention[token][layer] is None:
                with pytest.raises(ValueError, match="does not attend to the whole prompt"):
                    trace.attended(token, layer)
                continue
            places = trace.attended(token, layer)
            assert places.shape == trace.assignment.shape
            torch.testing.assert_close(places.sum(), trace.attention[token][layer].float().sum(), atol=1e-5, rtol=1e-4)
            assert set(trace.assignment[places > 0].tolist()) <= set(alive.tolist())


def test_what_a_token_without_a_patch_to_itself_is_paid_goes_to_its_place():
    trace = Trace(num_layers=1, attention=[[torch.tensor([0.5, 0.2, 0.3])]], survivors=[torch.arange(3)])
    trace.assignment = torch.tensor([[0, 0, -1, 2]])  # the second token was made of the first place too, which belongs to the first token
    trace.group_sizes, trace.anchors = torch.tensor([2, 0, 1]), torch.tensor([0, 0, 3])
    torch.testing.assert_close(trace.attended(0, 0), torch.tensor([[0.45, 0.25, 0.0, 0.3]]))


def test_the_first_tokens_row_is_the_score_that_fastv_takes_from_the_same_layer(model, family):
    scored = max(layer for layer, has_row in enumerate(family.watched([1] * 4)) if has_row)
    _, trace = answer(model, family.video_inputs(), aim.FastV(layer=scored + 1, keep_ratio=0.3))
    torch.testing.assert_close(trace.attention[0][scored].float(), trace.scores[scored], atol=HALF, rtol=0)


def test_without_asking_nothing_is_recorded_and_no_layer_is_watched_while_decoding(model, family, monkeypatch):
    monkeypatch.setattr(session, "Attended", None)  # it would fail if it were made
    with aim.reduce(model, aim.Full()) as trace, torch.no_grad():
        model.generate(**family.video_inputs(), max_new_tokens=2)
    assert trace.attention == []
    assert "inspection" not in trace.timings


def test_the_record_ends_where_its_memory_is_full_and_the_answer_goes_on(model, family, monkeypatch):
    inputs = family.video_inputs()
    layers, visual = sum(family.watched([1] * 6)), family.tokens(4)
    monkeypatch.setattr(session, "Attended", lambda *given: Attended(*given, memory_budget=2 * 2 * layers * visual + 1))
    ids, trace = answer(model, inputs, aim.Full(), tokens=5)
    assert len(ids) == 5
    assert len(trace.attention) == 2


def test_a_new_prompt_begins_a_new_record(model, family):
    with aim.reduce(model, aim.Full(), attention=True) as trace, torch.no_grad():
        model.generate(**family.video_inputs(), max_new_tokens=3)
        model.generate(**family.video_inputs(seed=1), max_new_tokens=2)
    assert len(trace.attention) == 2


def test_a_batch_is_refused(model, family):
    batch, _ = family.batch_inputs()
    with pytest.raises(Refusal, match="one prompt at a time"), aim.reduce(model, aim.Full(), attention=True), torch.no_grad():
        model(**batch)


@pytest.mark.parametrize("heads", [(6, 2), (3, 3), (4, 1)])
def test_a_row_is_the_last_row_of_the_whole_map(heads):
    query, key = random_attention(*heads)
    logits = torch.einsum("hd,hnd->hn", query[:, -1], key.repeat_interleave(heads[0] // heads[1], 0)) * 0.5
    torch.testing.assert_close(row_attention(query[:, -1], key, 0.5), logits.softmax(-1).mean(0))


@pytest.mark.parametrize("shapes", [((4, 8), (3, 5, 8)), ((4, 8), (2, 5, 7)), ((4, 8), (2, 0, 8)), ((0, 8), (2, 5, 8))])
def test_a_row_of_shapes_that_do_not_fit_is_refused(shapes):
    with pytest.raises(ValueError, match="pass \\[H, d\\] and \\[KV, n, d\\]"):
        row_attention(torch.ones(shapes[0]), torch.ones(shapes[1]), 1.0)


def test_a_model_that_was_loaded_with_eager_attention_records_the_same(model, family):
    inputs = family.video_inputs()
    _, expected = answer(model, inputs, aim.AIM(merge_ratio=0.5, l1=2, l2=5))
    model.set_attn_implementation({"text_config": "eager"})
    try:
        _, trace = answer(model, inputs, aim.AIM(merge_ratio=0.5, l1=2, l2=5))
        assert model.config.text_config._attn_implementation == "eager"
    finally:
        model.set_attn_implementation({"text_config": "sdpa"})
    for rows, others in zip(trace.attention, expected.attention, strict=True):
        assert all(row is other is None or torch.equal(row, other) for row, other in zip(rows, others, strict=True))
