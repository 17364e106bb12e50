"""EVS: the places that the official code keeps, plain loops over the rule, counts, and what leaves everything as it is."""

from __future__ import annotations

import math

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.planning.plan import plan
from tests.official import input_of, patches, rivals

CASES = rivals("evs")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["stable"]])
def test_it_keeps_what_the_official_code_keeps(name: str):
    clip, kind, ratio = input_of(name)
    x = patches(clip, kind)
    merged = aim.EVS(keep_ratio=ratio).merge(x)
    kept = CASES[name]["kept"]
    assert torch.equal(merged.anchors, kept)
    assert torch.equal(merged.tokens, x.flatten(0, 1)[kept])
    assert merged.sizes.tolist() == [1] * len(kept)
    assert torch.equal(merged.assignment.flatten()[kept], torch.arange(len(kept)))
    assert int((merged.assignment < 0).sum()) == merged.assignment.numel() - len(kept)


def places_by_loops(x: list, count: int) -> list[int]:
    """The first frame, and then the tokens of least cosine with the token before them, the earlier one of equal ones."""

    def cosine(one: list, other: list) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))

    per_frame = len(x[0])
    pairs = [(frame, token) for frame in range(1, len(x)) for token in range(per_frame)]
    later = sorted((cosine(x[frame][token], x[frame - 1][token]), frame * per_frame + token) for frame, token in pairs)
    return sorted([*range(per_frame), *(place for _, place in later[: count - per_frame])])


@pytest.mark.parametrize(("ratio", "count"), [(0.5, 15), (0.95, 28), (0.34, 10), (0.1, 6)])
def test_the_least_alike_stay_and_ties_go_to_the_earlier_token(ratio: float, count: int):
    there, back = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    x = torch.stack([there, back, there, back, there])  # the same change four times
    assert aim.EVS(keep_ratio=ratio).merge(x).anchors.tolist() == places_by_loops(x.double().tolist(), count)


def test_a_share_below_one_frame_keeps_the_first_frame_and_one_frame_is_kept_whole():
    x = torch.randn(4, 9, 4)
    assert aim.EVS(keep_ratio=0.01).merge(x).anchors.tolist() == list(range(9))
    assert aim.EVS(keep_ratio=0.01).merge(x[:1]) is None and aim.EVS(keep_ratio=1).merge(x) is None
    assert aim.EVS(keep_ratio=0.01).merged_tokens(1, 9) == 9


def test_counts_are_exact_and_planned():
    assert aim.EVS(keep_ratio=0.1).merged_tokens(20, 49) == 98  # in floats 97
    planned = plan("llava-onevision-qwen2-7b", 32, 100, aim.EVS(keep_ratio=0.25))
    assert planned.tokens_per_layer == [(1568, 100)] * 28
    assert planned.merge_tflops == pytest.approx(6 * 3584 * 31 * 196 / 1e12)
    assert plan("llava-onevision-qwen2-7b", 1, 100, aim.EVS()).merge_tflops == 0


def test_a_share_out_of_range_is_refused():
    with pytest.raises(Refusal, match=r"keep_ratio is 0; accepted: a number above 0 and up to 1\. Use 1 to keep all"):
        aim.EVS(keep_ratio=0)
