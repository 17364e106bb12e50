"""VidCom2: what the official code and vLLM's keep, plain loops over the rule, the planned count and the real one."""

from __future__ import annotations

import math

import pytest
import torch

import aim
from aim.kernels.distinctness import frame_shares, likeness, steady_units
from aim.kernels.refusal import Refusal
from aim.planning.plan import plan
from tests.official import input_of, patches, rivals
from tests.tiny import TINY

CASES = rivals("vidcom2")
STABLE = [name for name, case in CASES.items() if case["stable"]]


@pytest.mark.parametrize("name", STABLE)
def test_it_keeps_what_the_official_code_keeps(name: str):
    clip, kind, ratio = input_of(name)
    x, case = patches(clip, kind), CASES[name]
    merged = aim.VidCom2(keep_ratio=ratio, exact=case["variant"] == "exact").merge(x)
    assert torch.equal(merged.anchors, case["kept"])
    assert torch.equal(merged.tokens, x.flatten(0, 1)[case["kept"]])
    assert (merged.anchors // x.shape[1]).bincount(minlength=len(x)).tolist() == case["counts"]


@pytest.mark.parametrize("name", [name for name in STABLE if name.startswith("official")])
def test_channels_and_shares_of_frames_are_the_official_ones(name: str):
    clip, kind, ratio = input_of(name)
    x = patches(clip, kind)
    units = steady_units(x)
    torch.testing.assert_close(units, torch.nn.functional.normalize(x[..., CASES[name]["channels"]], dim=-1))
    shares = frame_shares(likeness(units, units.mean(dim=(0, 1))), ratio)
    torch.testing.assert_close(shares, torch.tensor(CASES[name]["rates"]), atol=1e-5, rtol=0)


def places_by_loops(x: list, ratio: float, exact: int | None) -> list[int]:
    frames, per_frame, size = len(x), len(x[0]), len(x[0][0])
    everything = [token for frame in x for token in frame]

    def mean(vectors: list) -> list[float]:
        return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]

    middle = mean(everything)
    spread = [sum((token[channel] - middle[channel]) ** 2 for token in everything) for channel in range(size)]
    steady = sorted(sorted(range(size), key=lambda channel: spread[channel])[: size // 2])

    def unit(token: list) -> list[float]:
        return [token[channel] / math.hypot(*(token[other] for other in steady)) for channel in steady]

    def near(one: list, centre: list) -> float:
        squared = math.dist(one, centre) ** 2
        return sum(math.exp(-squared / (2 * width)) for width in (0.125, 0.25, 0.5, 1, 2))

    units = [[unit(token) for token in frame] for frame in x]
    centre = mean([token for frame in units for token in frame])
    own = [-sum(near(token, centre) for token in frame) / per_frame for frame in units]
    powers = [math.exp((value - max(own)) / 0.01) for value in own]
    kept, sums = [], {}
    for number, frame in enumerate(units):
        frame_centre = mean(frame)
        for token, value in enumerate(frame):
            sums[number * per_frame + token] = near(value, centre) + near(value, frame_centre)
        share = min(1, ratio * (1 + powers[number] / sum(powers) - 1 / frames))
        ranked = sorted(range(number * per_frame, (number + 1) * per_frame), key=lambda place: sums[place])
        kept += ranked[: max(1, round(share * per_frame))]
    if exact is not None:
        while len(kept) > exact:
            kept.remove(max(kept, key=lambda place: sums[place]))
        while len(kept) < exact:
            kept.append(min(sums.keys() - set(kept), key=lambda place: sums[place]))
    return sorted(kept)


@pytest.mark.parametrize("ratio", [0.05, 0.35, 0.8])
@pytest.mark.parametrize("exact", [False, True])
def test_plain_loops_over_the_rule_keep_the_same(ratio: float, exact: bool):
    x = torch.randn(4, 7, 9, generator=torch.Generator().manual_seed(3)) + 2 * torch.randn(9, generator=torch.Generator().manual_seed(4))
    method = aim.VidCom2(keep_ratio=ratio, exact=exact)
    expected = places_by_loops(x.double().tolist(), ratio, method.merged_tokens(4, 7) if exact else None)
    assert method.merge(x).anchors.tolist() == expected
    assert not exact or len(expected) == method.merged_tokens(4, 7) == max(4, int(ratio * 28))


def test_a_frame_that_stands_out_keeps_more():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, generator=generator) + 0.2 * torch.randn(6, 20, 16, generator=generator)
    x[2] = torch.randn(20, 16, generator=generator)
    kept = (aim.VidCom2(keep_ratio=0.4).merge(x).anchors // 20).bincount(minlength=6).tolist()
    assert kept[2] > max(kept[:2] + kept[3:]) and min(kept) >= 1


def test_a_run_counts_what_was_kept_and_a_plan_is_within_half_a_token_a_frame():
    tiny, method = TINY["llava_onevision"], aim.VidCom2(keep_ratio=0.3)
    model = tiny.model()
    with aim.reduce(model, method) as trace, torch.no_grad():
        model(**tiny.video_inputs())
    kept = int((trace.assignment >= 0).sum())
    assert {visual for visual, _ in trace.tokens_per_layer} == {kept} == {trace.merged_tokens}
    assert abs(kept - method.merged_tokens(trace.frames, tiny.per_frame)) <= trace.frames / 2 + 1


def test_all_is_kept_at_one_and_a_token_of_each_frame_at_least():
    x = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(0))
    assert aim.VidCom2(keep_ratio=1).merge(x) is None
    for exact in (False, True):
        assert len(aim.VidCom2(keep_ratio=0.001, exact=exact).merge(x).anchors) == 3
    planned = plan("llava-onevision-qwen2-7b", 32, 100, aim.VidCom2())
    assert planned.tokens_per_layer == [(1568, 100)] * 28
    assert planned.merge_tflops == pytest.approx(32 * 196 * (4 * 3584 + 11 * 1792) / 1e12)


@pytest.mark.parametrize(
    ("knobs", "message"), [({"keep_ratio": 1.5}, "keep_ratio is 1.5"), ({"exact": 1}, "exact is 1; accepted: False or True")]
)
def test_a_knob_out_of_range_is_refused(knobs: dict, message: str):
    with pytest.raises(Refusal, match=message):
        aim.VidCom2(**knobs)
