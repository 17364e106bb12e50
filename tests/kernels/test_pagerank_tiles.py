"""PageRank in Triton's tiles, on a GPU where there is one, else by Triton's interpreter. Without Triton it is left out."""

from __future__ import annotations

import os

import pytest
import torch

from aim.kernels import importance
from aim.kernels.importance import pagerank

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported
pytest.importorskip("triton")


@pytest.fixture
def tiles():
    from aim.kernels import pagerank_tiles

    return pagerank_tiles


def queries_and_keys(heads: int, key_heads: int, n: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n + width)
    query, key = (torch.randn(n, count, width, generator=generator).half().transpose(0, 1).to(DEVICE) for count in (heads, key_heads))
    return query, key


def from_the_whole_map(query, key, damping, restart):
    query, key = query.double(), key.double().repeat_interleave(query.shape[0] // key.shape[0], 0)
    n = query.shape[1]
    future = torch.ones(n, n, dtype=torch.bool, device=query.device).triu(1)
    chances = (query @ key.transpose(1, 2) * query.shape[2] ** -0.5 / 0.1).masked_fill(future, -torch.inf).softmax(-1)
    walk = torch.full((query.shape[0], 1, n), 1 / n, dtype=torch.float64, device=query.device)
    for _ in range(5):
        walk = (1 - damping) * (walk @ chances) + damping * restart.double()
    return walk[:, 0].square().mean(0).sqrt().float()


@pytest.mark.parametrize(
    ("heads", "key_heads", "n", "width"), [(4, 2, 131, 32), (2, 1, 64, 80), (2, 2, 5, 16), (2, 1, 70, 256)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("damping", [0.0, 0.15])
def test_tiles_give_the_importance_of_the_whole_map(tiles, monkeypatch, heads, key_heads, n, width, damping):
    monkeypatch.setattr(importance, "tiles_for", lambda _query: tiles)
    query, key = queries_and_keys(heads, key_heads, n, width)
    restart = torch.arange(1.0, n + 1, device=DEVICE)
    ranks = pagerank(query, key, width**-0.5, damping=damping, restart=restart if damping else None)
    expected = from_the_whole_map(query, key, damping, restart / restart.sum())
    torch.testing.assert_close(ranks, expected, rtol=1e-4, atol=1e-8)


def test_tiles_read_queries_and_keys_where_they_lie_behind_padding(tiles):
    query, key = queries_and_keys(4, 2, 40, 32)
    restart = torch.full((33,), 1 / 33, device=DEVICE)
    behind = tiles.walk_in_tiles(query[:, 7:], key[:, 7:], 1.0, 3, 0.0, restart)
    alone = tiles.walk_in_tiles(query[:, 7:].contiguous(), key[:, 7:].contiguous(), 1.0, 3, 0.0, restart)
    assert torch.equal(behind, alone)
    torch.testing.assert_close(behind.sum(1), torch.ones(4, device=DEVICE))
