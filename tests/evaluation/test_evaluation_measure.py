"""One question under one setting: the answer is what stock generate begins with, recall and localisation are what plain loops find."""

import json
from statistics import fmean

import numpy as np
import pytest
import torch

import aim
from aim.evaluation.clips import QUESTIONS_PER_CLIP, film, held_out_clip
from aim.evaluation.controls import LastToken, RandomScore
from aim.evaluation.measure import evidence_recall, localisation, measure_clip
from aim.evaluation.settings import Setting, combine
from aim.evaluation.summary import Evaluation
from aim.kernels.refusal import Refusal
from tests.benchmark import untrained
from tests.fakes import make_trace

FRAMES, GRID = 3, 7
METHODS = [
    aim.Full(),
    aim.AIM(merge_ratio=0.5, l1=2, l2=6),
    aim.AIM(merge_ratio=0.25, l1=12, l2=13),
    aim.AIM(merge_ratio=0.3, l1=3, l2=5, merge_window=2, merge_order="official"),
    LastToken(merge_ratio=1.0, l1=2, l2=8),
    RandomScore(merge_ratio=1.0, l1=2, l2=8),
]


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def clip():
    return held_out_clip(4)


@pytest.fixture(scope="module")
def records(vlm, clip):
    return list(measure_clip(vlm, clip, [Setting(method, FRAMES) for method in METHODS]))


def prompt(vlm, clip, question):
    """Everything stock generate needs for a question about a clip, and the evidence patches, from the clip's masks."""
    pictures, owners = film(clip, FRAMES, GRID)
    family, config = vlm.checkpoint.family, vlm.model.config
    pixels = family.pixel_values(config, pictures, vlm.checkpoint.pictures)
    ids = torch.tensor([vlm.prompt_ids(question.text, vlm.grid(FRAMES))])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}
    return inputs, [[patch in question.about for patch in frame] for frame in owners.tolist()]


@pytest.mark.parametrize("number", range(len(METHODS)), ids=[method.name + str(i) for i, method in enumerate(METHODS)])
def test_answer_counts_recall_and_localisation_are_those_of_stock_generate_and_its_trace(vlm, clip, records, number):
    record = records[number]
    # The random numbers go by the bits of a query, and the first prompt alone has those of a prompt computed by itself.
    chosen = slice(1) if isinstance(METHODS[number], RandomScore) else slice(None, None, 3)
    for question, outcome in zip(clip.questions[chosen], record.outcomes[chosen], strict=True):
        inputs, evidence = prompt(vlm, clip, question)
        with aim.reduce(vlm.model, METHODS[number]) as trace:
            output = vlm.model.generate(**inputs, max_new_tokens=1, do_sample=False)
        word = vlm.checkpoint.tokenizer.decode(output[0, -1:]).strip()
        assert (outcome.type, outcome.truth, outcome.answer) == (question.type, question.answer, word)
        assert outcome.right == (word == question.answer)
        assert [(visual, outcome.text_tokens) for visual in record.visual_per_layer] == trace.tokens_per_layer
        expected_recall, expected_ratio = by_loops(trace.to_dict(), evidence)
        for measured, expected in ((outcome.recall, expected_recall), (outcome.localisation, expected_ratio)):
            assert (measured is None) == (expected is None)
            for value, other in zip(measured or [], expected or [], strict=True):
                assert value is None and other is None or value == pytest.approx(other, rel=1e-5)


def by_loops(trace, evidence):
    """Recall and localisation, patch by patch from a trace's plain lists."""
    asked = [(f, p) for f, row in enumerate(evidence) for p, is_asked in enumerate(row) if is_asked]
    if not asked:
        return None, None
    recall, ratios = [], []
    for alive, scores in zip(trace["survivors"], trace["scores"], strict=True):
        recall.append(sum(trace["assignment"][f][p] in alive for f, p in asked) / len(asked))
        if scores is None:
            ratios.append(None)
            continue
        on, elsewhere = [], []
        for f, row in enumerate(trace["assignment"]):
            for p, group in enumerate(row):
                if group in alive:
                    (on if evidence[f][p] else elsewhere).append(scores[alive.index(group)])
        ratios.append(fmean(on) / fmean(elsewhere) if on and elsewhere and sum(elsewhere) else None)
    return recall, ratios


def test_what_was_averaged_into_another_token_inside_the_model_is_no_lost_evidence():
    trace = make_trace()  # tokens 0, 2 and 5 are left in layer 2, and none in layer 3
    trace.holders = {2: torch.tensor([0, 0, 2, -1, 5, 5]), 3: torch.full((6,), -1)}
    tokens, held = trace.assignment.flatten().tolist(), trace.holders[2].tolist()
    evidence = (trace.assignment == 1) | (trace.assignment == 3)
    asked = [token for token in tokens if token in (1, 3)]
    assert evidence_recall(trace, evidence) == pytest.approx([1, 1, asked.count(1) / len(asked), 0])
    trace.scores = [None, None, torch.tensor([0.2, 0.3, 0.5]), None]
    score = {0: 0.2, 2: 0.3, 5: 0.5}
    others = [score[held[token]] for token in tokens if token not in (1, 3)]
    assert localisation(trace, evidence)[2] == pytest.approx(0.2 / fmean(others))


def test_the_settings_under_test_do_lose_evidence_and_do_score_it(records):
    dropped = [record for record in records if record.visual_per_layer[-1] < record.visual_per_layer[0]]
    assert len(dropped) == 4
    for record in dropped:
        shares = [share for outcome in record.outcomes if outcome.recall for share in outcome.recall]
        assert min(shares) < 1 and max(shares) == 1
        assert any(ratio is not None for outcome in record.outcomes if outcome.localisation for ratio in outcome.localisation)


def test_without_evidence_there_is_neither_recall_nor_localisation(vlm, clip):
    inputs, _ = prompt(vlm, clip, clip.questions[0])
    with aim.reduce(vlm.model, METHODS[1]) as trace, torch.no_grad():
        vlm.model(**inputs)
    nothing = torch.zeros(FRAMES, GRID * GRID, dtype=torch.bool)
    assert evidence_recall(trace, nothing) is None and localisation(trace, nothing) is None
    everything = ~nothing
    assert localisation(trace, everything) == [None] * 12


def test_measuring_again_gives_the_same_but_for_the_times(vlm, clip, records):
    again = list(measure_clip(vlm, clip, [Setting(method, FRAMES) for method in METHODS]))
    for before, after in zip(records, again, strict=True):
        assert (before.setting, before.visual_per_layer, before.outcomes) == (after.setting, after.visual_per_layer, after.outcomes)
        assert after.milliseconds > 0


def test_last_token_attention_is_the_last_row_of_an_eager_models_attention(vlm, clip):
    inputs, _ = prompt(vlm, clip, clip.questions[0])
    with aim.reduce(vlm.model, LastToken(merge_ratio=1.0, l1=3, l2=5)) as trace, torch.no_grad():
        vlm.model(**inputs)
    vlm.model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            weights = vlm.model(**inputs, output_attentions=True).attentions[2][0]  # layer l1 - 1, [heads, n, n]
    finally:
        vlm.model.set_attn_implementation("sdpa")
    torch.testing.assert_close(trace.scores[2], weights[:, -1].mean(0)[2 : 2 + FRAMES * GRID * GRID], rtol=1e-4, atol=1e-7)


def test_random_scores_are_the_same_for_the_same_content_and_favour_no_place():
    query, key = torch.randn(4, 2000, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 2000, 8)
    method, is_question = RandomScore(), torch.zeros(2000, dtype=torch.bool)
    first, again = (method.score(query, key, 1.0, is_question) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, method.score(query + 1, key, 1.0, is_question))
    assert first.unique().numel() > 1900 and 0.48 < first.mean() < 0.52
    assert abs(np.corrcoef(first.numpy(), np.arange(2000))[0, 1]) < 0.1


def test_a_clips_questions_are_its_own_different_and_hold_every_needle():
    needles = 0
    for index in range(30):
        clip = held_out_clip(index)
        assert clip.questions == held_out_clip(index).questions
        assert 1 <= len(clip.questions) == len(set(clip.questions)) <= QUESTIONS_PER_CLIP
        asked = sum(question.type == "needle" for question in clip.questions)
        assert asked == 2 * any(item.moment == "needle" for item in clip.scene.items)
        needles += asked
    assert needles > 0
    assert held_out_clip(1).scene.items != held_out_clip(1, "validation").scene.items


def test_more_frames_show_the_same_clip_through_the_same_camera():
    clip = held_out_clip(2)
    few, few_owners = film(clip, 2, GRID)
    many, many_owners = film(clip, 6, GRID)
    assert few.shape == (2, 112, 112, 3) and many_owners.shape == (6, 49)
    # The centres of halves are those of every third sixth.
    assert np.array_equal(few, many[1::3]) and np.array_equal(few_owners, many_owners[1::3])


def test_a_grid_that_does_not_divide_the_picture_is_refused():
    with pytest.raises(Refusal, match="9 x 9 tokens"):
        film(held_out_clip(0), 2, 9)


def test_a_reduced_tower_is_a_setting_of_its_own_beside_the_full_one(vlm, clip, records):
    towers = (None, aim.Tower(merge=0.5, layer=1), aim.Tower(reuse=0.05, layer=1))
    settings = [Setting(aim.Full(), FRAMES, tower) for tower in towers]
    found = {record.setting: record for record in measure_clip(vlm, clip, settings)}
    assert list(found) == [setting.key for setting in settings] and len(found) == 3
    assert [outcome.answer for outcome in found[settings[0].key].outcomes] == [outcome.answer for outcome in records[0].outcomes]
    assert found[settings[0].key].tower_lengths == [] and settings[0].key == records[0].setting
    layers = vlm.model.config.vision_config.num_hidden_layers
    for tower, setting in zip(towers[1:], settings[1:], strict=True):
        lengths = found[setting.key].tower_lengths
        assert len(lengths) == FRAMES and {len(frame) for frame in lengths} == {layers}
        assert lengths[0] == tuple(tower.lengths(vlm._vision(vlm.grid(1))))  # the first frame computes everything
        summary = Evaluation(list(found.values()), vlm.model.config, GRID**2).summary(setting)
        assert summary.cost["vision_tflops"] < summary.cost["baseline_vision_tflops"]
        assert setting.with_full_tower == settings[0] and setting.reference == settings[0]


def test_settings_with_a_tower_stand_beside_those_without():
    tower = aim.Tower(merge=0.3, layer=1)
    settings = combine([aim.AIM()], [2, 4], 12, towers=[tower])
    assert [(setting.frames, setting.method.name, setting.tower) for setting in settings[:4]] == [
        (2, "full", None),
        (2, "full", tower),
        (2, "aim", None),
        (2, "aim", tower),
    ]
    assert len(settings) == 8 and combine([aim.AIM()], [2, 4], 12) == settings[::2]
    assert settings[1].label == "2 frames, full, tower merge 0.3"
    assert Setting(aim.Full(), 2, aim.Tower(reuse=8 / 255, layer=1)).label == "2 frames, full, tower reuse 0.0314"
    assert json.loads(settings[1].key)["tower"] == tower.params()
