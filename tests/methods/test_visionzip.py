"""VisionZip: the official results, the rule by plain loops, counts, cost, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

import aim
from aim.kernels.contextual_merging import contextual_merge_flops, merge_contextual
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention
from aim.planning.plan import look_up, plan
from tests import official

CASES = official.rivals("visionzip")
SEVEN_B = "llava-onevision-qwen2-7b"


def official_input(name: str) -> tuple[torch.Tensor, TowerAttention]:
    """Visual tokens and what the tower saw. With "cls" the CLS token comes first in each frame and is always the most attended."""
    clip, kind, _ = official.input_of(name)
    seen, patches = official.tower(clip, kind), official.patches(clip, kind)
    if name.startswith("mean"):
        return patches, TowerAttention(seen["received"], seen["keys"])
    cls = torch.full((len(patches), 1), torch.inf)
    received = torch.cat([cls, seen["cls"].mean(1)], dim=1)
    with_cls = (torch.cat([seen[f"cls_{one}"][:, None], others], dim=1) for one, others in (("token", patches), ("key", seen["keys"])))
    patches, keys = with_cls
    return patches, TowerAttention(received, keys)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["stable"]])
def test_the_official_tokens_come_out_in_the_official_order(name: str):
    case, (patches, tower) = CASES[name], official_input(name)
    merged = merge_contextual(patches, tower, case["dominant"], case["contextual"])
    assert torch.equal(merged.anchors, case["kept"])
    torch.testing.assert_close(merged.tokens, case["weights"] @ patches.flatten(0, 1), atol=1e-4, rtol=1e-4)
    # A place belongs to the one token that it has a weight in.
    assert torch.equal(case["weights"].argmax(dim=0), merged.assignment.flatten())
    assert torch.equal((case["weights"] > 0).sum(dim=1), merged.sizes)


@pytest.mark.parametrize("name", ["mean.a.video.0.25", "mean.b.iid.0.25"])
def test_the_method_leaves_what_the_official_code_does(name: str):
    patches, tower = official_input(name)
    method = aim.VisionZip(keep_ratio=0.25)
    merged = method.merge(patches, tower)
    assert torch.equal(merged.anchors, CASES[name]["kept"])
    assert len(merged.tokens) == method.merged_tokens(*patches.shape[:2])


def by_loops(x: list, received: list, keys: list, dominant: int, contextual: int) -> tuple[list, list, list]:
    """One frame: (anchors, tokens, assignment). keys [T][heads][size]."""
    count = len(x)
    order = sorted(range(count), key=lambda place: (-received[place], place))
    kept, rest = sorted(order[:dominant]), sorted(order[dominant:])
    targets = [rest[number * (len(rest) // contextual)] for number in range(contextual)] if contextual else []
    anchors, assignment, joined = kept + targets, [-1] * count, {target: [] for target in targets}
    for index, place in enumerate(anchors):
        assignment[place] = index

    def mean_key(place: int) -> list[float]:
        return [sum(head[i] for head in keys[place]) / len(keys[place]) for i in range(len(keys[place][0]))]

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    for place in rest if contextual else []:
        if place not in targets:
            best = max(targets, key=lambda target: (cosine(mean_key(place), mean_key(target)), -target))
            joined[best].append(place)
            assignment[place] = anchors.index(best)
    tokens = [list(x[place]) for place in anchors]
    for target, places in joined.items():
        for i in range(len(x[0])):
            tokens[anchors.index(target)][i] += sum(x[place][i] for place in places) / max(1, len(places))
    return anchors, tokens, assignment


@pytest.mark.parametrize(("dominant", "contextual"), [(5, 3), (0, 4), (6, 0), (3, 9), (0, 12), (1, 1)])
def test_plain_loops_over_the_rule_give_the_same(dominant: int, contextual: int):
    generator = torch.Generator().manual_seed(4)
    patches, received = torch.randn(3, 12, 5, generator=generator), torch.rand(3, 12, generator=generator)
    keys = torch.randn(3, 12, 4 * 3, generator=generator)
    merged = merge_contextual(patches, TowerAttention(received, keys, heads=4), dominant, contextual)
    left = dominant + contextual
    for frame in range(3):
        heads = keys[frame].unflatten(1, (4, 3)).tolist()
        anchors, tokens, assignment = by_loops(patches[frame].tolist(), received[frame].tolist(), heads, dominant, contextual)
        mine = slice(frame * left, (frame + 1) * left)
        assert (merged.anchors[mine] - 12 * frame).tolist() == anchors
        torch.testing.assert_close(merged.tokens[mine], torch.tensor(tokens), atol=1e-5, rtol=1e-5)
        assert merged.assignment[frame].tolist() == [index + frame * left if index >= 0 else -1 for index in assignment]
        assert merged.sizes[mine].tolist() == [assignment.count(index) for index in range(left)]


def test_half_precision_is_merged_in_float32_and_returned_as_it_came():
    patches, tower = official_input("mean.a.video.0.25")
    half = merge_contextual(patches.bfloat16(), tower, 10, 2)
    exact = merge_contextual(patches.bfloat16().float(), tower, 10, 2)
    assert half.tokens.dtype == torch.bfloat16 and torch.equal(half.tokens, exact.tokens.bfloat16())


@pytest.mark.parametrize(
    ("method", "tokens", "left"),
    [
        (aim.VisionZip(), 196, 50),
        (aim.VisionZip(keep_ratio=0.25), 196, 49),
        (aim.VisionZip(keep_ratio=0.25), 50, 12),  # half to even
        (aim.VisionZip(keep_ratio=0.29), 50, 14),  # 14.5 as it was typed
        (aim.VisionZip(keep_ratio=0.001), 196, 2),
        (aim.VisionZip(keep_ratio=0.001), 1, 1),
        (aim.VisionZip(keep_ratio=1), 196, 196),
    ],
    ids=str,
)
def test_it_is_planned_as_it_runs(method, tokens: int, left: int):
    assert method.merged_tokens(3, tokens) == 3 * left
    merged = method.merge(torch.randn(3, tokens, 4), TowerAttention(torch.rand(3, tokens), torch.randn(3, tokens, 6)))
    assert merged is None if left == tokens else len(merged.tokens) == 3 * left


def test_its_cost_is_on_the_account():
    shape, vision = look_up(SEVEN_B).shape, look_up(SEVEN_B).vision
    planned = plan(SEVEN_B, 32, 100, aim.VisionZip())
    # 50 tokens of a frame: 42 stay, and the other 154 are merged into 8.
    assert planned.merge_tflops == pytest.approx(contextual_merge_flops(shape.hidden_size, vision, 32, 154, 8) / 1e12)
    assert planned.merge_tflops > plan(SEVEN_B, 32, 100, aim.VisionZip(dominant_share=1)).merge_tflops > 0
    assert plan(SEVEN_B, 32, 100, aim.VisionZip(keep_ratio=1)).merge_tflops == 0
    assert planned.tokens_per_layer == [(1600, 100)] * 28


def test_what_cannot_be_done_is_refused_in_a_sentence():
    with pytest.raises(Refusal, match="keep_ratio is 0; accepted: a number above 0 and up to 1"):
        aim.VisionZip(keep_ratio=0)
    with pytest.raises(Refusal, match="dominant_share is 1.5"):
        aim.VisionZip(dominant_share=1.5)
    with pytest.raises(Refusal, match="none was given. Use a model whose tower shows it"):
        aim.VisionZip().merge(torch.zeros(2, 9, 4))
    with pytest.raises(ValueError, match="pass \\[F, T, C\\]"):
        merge_contextual(torch.zeros(2, 9, 4), TowerAttention(torch.zeros(2, 8), torch.zeros(2, 9, 3)), 3, 1)
    with pytest.raises(ValueError, match="dominant is 9 and contextual 1"):
        merge_contextual(torch.zeros(2, 9, 4), TowerAttention(torch.zeros(2, 9), torch.zeros(2, 9, 3)), 9, 1)
