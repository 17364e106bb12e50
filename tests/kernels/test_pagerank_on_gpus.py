"""PageRank as a GPU computes it: how many operations it takes, and what comes out on the bundled model's own attention."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import aim
from aim.kernels import importance
from aim.kernels.importance import pagerank
from aim.methods import AIM

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


class Operations(TorchDispatchMode):
    """The operations that a device would run: all but those that return a view of what they are given, or allocate."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not function.is_view and "empty" not in str(function) and "_unsafe_view" not in str(function):
            self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def on_meta(n: int, budget: int, dtype: torch.dtype = torch.bfloat16, heads: int = 28, key_heads: int = 4, d: int = 128) -> list[str]:
    query, key = (torch.empty(n, count, d, dtype=dtype, device="meta").transpose(0, 1) for count in (heads, key_heads))
    with Operations() as operations:
        try:
            assert pagerank(query, key, d**-0.5, memory_budget=budget).shape == (n,)
        except NotImplementedError:
            pytest.skip("this torch has no meta kernel for a product of halves with sums in float32")
    return operations.names


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_layer_of_6372_tokens_takes_at_most_60_operations_in_one_block(dtype):
    names = on_meta(6372, 16 * 2**30, dtype)
    assert len(names) <= 60, names
    assert sum("softmax" in name for name in names) == 1
    assert [name for name in names if "triu" in name] == ["aten.triu_.default"]
    half = dtype == torch.bfloat16
    assert names.count("aten.bmm.dtype_out") == half and (not half or "aten._to_copy.default" not in names)


def test_a_smaller_budget_takes_more_blocks_of_all_heads_and_the_triangle_is_still_made_once():
    names = on_meta(6372, 2 * 2**30)
    softmaxes = sum("softmax" in name for name in names)
    assert 4 < softmaxes < 8  # 2 × 28 × 6372 × 4 bytes a row and 2 GiB make some 1,480 rows
    assert sum("triu" in name for name in names) == 1


@pytest.mark.parametrize("budget", [60_000, 200_000, 2**30])
def test_the_rows_of_a_gpu_fit_the_budget(budget: int):
    heads, key_heads, n, d, iterations = 8, 4, 80, 16, 5
    query = torch.empty(heads, n, d, device="meta")
    at_once, rows = importance._what_fits(query, key_heads, iterations, budget)
    group = heads // key_heads
    held = 2 * at_once * group * rows * n * 4 + at_once * n * (d + group * (2 * iterations + 2)) * 4 + rows**2
    assert held <= budget and 1 <= rows <= n
    assert (at_once, rows) == (key_heads, n) or held > budget / 4


def as_on_a_gpu(patch, rows: int) -> None:
    """Let the CPU take the steps of a GPU, with blocks of so many rows. The products are those of tensor cores: of halves, in float32."""
    patch.setattr(importance, "_multiplies_halves", lambda query: query.dtype in importance.HALF)
    patch.setattr(importance, "_half_products", lambda one, other, out: torch.bmm(one.float(), other.float(), out=out))
    patch.setattr(importance, "CPU_ROWS", rows)


@pytest.fixture(scope="module")
def attention():
    """Queries, keys and scaling of every scored layer, in bfloat16, and the importance that the whole map gives in float64."""
    for reader in ("av", "decord"):
        pytest.importorskip(reader, reason="the example clip is read with it")
    vlm, seen = aim.load("bundled", dtype=torch.bfloat16), []
    clip = aim.read_video(EXAMPLES / "colour.mp4", num_frames=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            AIM, "score", lambda self, query, key, scaling, _: seen.append((query, key, scaling)) or pagerank(query, key, scaling)
        )
        vlm.ask(clip, "what colour is the circle?", max_new_tokens=1)
    return [(*given, from_the_whole_map(*given)) for given in seen]


def from_the_whole_map(query, key, scaling):
    query, key = query.double(), key.double().repeat_interleave(query.shape[0] // key.shape[0], 0)
    n = query.shape[1]
    future = torch.ones(n, n, dtype=torch.bool).triu(1)
    chances = (query @ key.transpose(1, 2) * scaling / 0.1).masked_fill(future, -torch.inf).softmax(-1)
    walk = torch.full((query.shape[0], 1, n), 1 / n, dtype=torch.float64)
    for _ in range(5):
        walk = walk @ chances
    return walk[:, 0].square().mean(0).sqrt().float()


@pytest.mark.parametrize("rows", [10_000, 100])
def test_a_gpus_steps_give_the_same_importance_and_keep_the_same_tokens(attention, monkeypatch, rows: int):
    as_on_a_gpu(monkeypatch, rows)
    assert attention and all(query.dtype == torch.bfloat16 for query, *_ in attention)
    for query, key, scaling, expected in attention:
        result = pagerank(query, key, scaling)
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-9)
        for share in (0.5, 0.25):
            kept = [set(values.topk(int(share * len(values))).indices.tolist()) for values in (result, expected)]
            assert kept[0] == kept[1]
