"""What depends on a model's family: the paper's ramp, and whether a method finds a tower that can be watched."""

from dataclasses import replace

import pytest
import torch

import aim
from aim.families import FAMILIES
from aim.kernels.merging import merge_clip
from aim.kernels.refusal import Refusal
from aim.planning.plan import look_up, plan
from tests.tiny import FEWER, TINY, llava

READING = [aim.AIM(metric="keys"), aim.PruMerge(keep_ratio=0.5), aim.PruMerge(plus=True), aim.VisionZip(), aim.FastVID()]


@pytest.mark.parametrize(("ratio", "tokens", "tflops"), [(0.4375, 252, 2.22), (0.125, 72, 1.00)])
def test_llava_plans_by_the_papers_own_ramp_to_the_posters_figures(ratio: float, tokens: int, tflops: float):
    planned = plan("llava-1.5-7b", 1, 40, aim.AIM(merge_ratio=ratio))
    assert round(planned.prefill_tflops, 2) == tflops and round(planned.baseline_tflops, 2) == 8.18
    visual = [visual for visual, _ in planned.tokens_per_layer]
    assert visual[:13] == [tokens] * 13 and visual[13] == tokens * 7 // 8 and visual[20:] == [0] * 12


def test_every_other_family_takes_the_ramp_of_llava_onevision():
    for name, family in FAMILIES.items():
        fitted = family.fit(aim.AIM(), 28 if name != "llava" else 32)
        assert (fitted.l1, fitted.l2) == ((13, 21) if name == "llava" else (14, 22))
    thirteen = FAMILIES["llava"].fit(aim.AIM(), 40)
    assert (thirteen.l1, thirteen.l2) == (16, 26)  # 13 and 21 of 32, of 40 layers


def test_layers_that_were_given_stay_and_reduce_takes_the_familys_ramp():
    assert FAMILIES["llava"].fit(aim.AIM(l1=3), 32).l1 == 3
    model, inputs = llava(layers=6), TINY["llava"].video_inputs()
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=1.0)) as trace:
        model(**inputs)
    shown = [visual for visual, _ in trace.tokens_per_layer]
    assert shown.index(next(count for count in shown if count < shown[0])) == 2  # 13 · 6 / 32; 14 · 6 / 28 would be 3


def test_match_moves_the_familys_ramp():
    target = 0.25 * plan("llava-1.5-7b", 8, 100, aim.Full()).prefill_tflops
    found = aim.match("aim", "llava-1.5-7b", 8, target)
    assert (found.l1, found.l2) == (13, 21)


@pytest.mark.parametrize("method", READING, ids=lambda method: f"{method.name}-{method.params()}")
def test_a_tower_that_cannot_be_watched_is_named_before_anything_runs(method, monkeypatch):
    blind = replace(FAMILIES["llava"], watch_tower=None)
    monkeypatch.setitem(FAMILIES, "llava", blind)
    named = "aim with metric keys|prumerge with .*|visionzip|fastvid"
    with pytest.raises(Refusal, match=rf"The method is ({named}), which reads .* LLaVA-1.5 .* accepted: .*fastv"):
        blind.fit(method, 32)
    with pytest.raises(Refusal, match="cannot be watched"):
        plan("llava-1.5-7b", 1, 40, method)
    with pytest.raises(Refusal, match="cannot be watched"):
        aim.match(method, "llava-1.5-7b", 1, 1.0)
    model = llava(layers=2)
    with pytest.raises(Refusal, match="cannot be watched"), aim.reduce(model, method):
        pass
    assert look_up("llava-1.5-7b").fit(aim.AIM(metric="keys", merge_ratio=1.0)).l1 == 13  # nothing is merged, so nothing is read


@pytest.mark.parametrize("name", FEWER)
def test_tokens_are_merged_by_the_keys_of_the_tower(name: str):
    model, inputs = TINY[name].model(), TINY[name].video_inputs()
    seen = []
    hooks = FAMILIES[name].watch_tower(model, seen.append)
    with torch.no_grad():
        model(**inputs)
    for hook in hooks:
        hook.remove()
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=0.4, metric="keys")) as trace:
        model(**inputs)
    keys = seen[0].keys
    by_keys = merge_clip(torch.zeros(*keys.shape[:2], 4), 0.4, keys=keys)
    assert torch.equal(trace.assignment.view(len(keys), -1), by_keys.assignment)
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=0.4)) as plain:
        model(**inputs)
    assert not torch.equal(plain.assignment, trace.assignment) and plain.merged_tokens == trace.merged_tokens
