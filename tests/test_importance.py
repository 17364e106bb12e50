"""PageRank against a dense reference with plain loops in float64, a chain worked out by hand, and its memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aim import importance
from aim.importance import pagerank


def pagerank_by_loops(query, key, scaling, temperature, iterations, damping=0.0, restart=None) -> list[float]:
    """The definition, one head, one row and one column at a time."""
    heads, n, _ = query.shape
    restart = [1 / n] * n if restart is None else [float(weight) / float(restart.sum()) for weight in restart]
    squares = [0.0] * n
    for head in range(heads):
        keys = key[head // (heads // key.shape[0])].double()
        walk = []
        for i in range(n):
            logits = [float(query[head, i].double() @ keys[j]) * scaling / temperature for j in range(i + 1)]
            weights = [math.exp(logit - max(logits)) for logit in logits]
            walk.append([weight / sum(weights) for weight in weights] + [0.0] * (n - i - 1))
        p = [1 / n] * n
        for _ in range(iterations):
            p = [(1 - damping) * sum(p[i] * walk[i][j] for i in range(n)) + damping * restart[j] for j in range(n)]
        squares = [total + value**2 for total, value in zip(squares, p, strict=True)]
    return [math.sqrt(total / heads) for total in squares]


def random_attention(heads: int = 6, key_heads: int = 2, n: int = 11, d: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(heads, n, d, generator=generator), torch.randn(key_heads, n, d, generator=generator)


@pytest.mark.parametrize(("heads", "key_heads"), [(1, 1), (4, 4), (6, 2), (6, 1)])
@pytest.mark.parametrize(
    "knobs",
    [
        {"temperature": 0.1, "iterations": 5},
        {"temperature": 1.0, "iterations": 1},
        {"temperature": 0.5, "iterations": 3, "damping": 0.15},
        {"temperature": 0.1, "iterations": 5, "damping": 0.4, "restart": torch.tensor([0.0] * 7 + [3.0, 1.0, 0.0, 2.0])},
    ],
)
def test_pagerank_equals_the_loops(heads: int, key_heads: int, knobs: dict):
    query, key = random_attention(heads, key_heads)
    expected = torch.tensor(pagerank_by_loops(query, key, 0.5, **knobs), dtype=torch.float32)
    result = pagerank(query, key, 0.5, **knobs)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-7)


def test_the_defaults_are_the_papers():
    query, key = random_attention()
    torch.testing.assert_close(pagerank(query, key, 0.5), pagerank(query, key, 0.5, temperature=0.1, iterations=5, damping=0.0))


def test_even_attention_walks_as_worked_out_by_hand():
    # Queries of zero attend evenly to all tokens up to their own: M = [[1, 0, 0], [1/2, 1/2, 0], [1/3, 1/3, 1/3]].
    query, key = torch.zeros(2, 3, 4), torch.randn(1, 3, 4)
    torch.testing.assert_close(pagerank(query, key, 0.5, iterations=1), torch.tensor([11 / 18, 5 / 18, 2 / 18]))
    torch.testing.assert_close(pagerank(query, key, 0.5, iterations=2), torch.tensor([85 / 108, 19 / 108, 4 / 108]))


def test_one_head_gives_a_distribution():
    query, key = random_attention(1, 1, n=40)
    for knobs in ({}, {"damping": 0.3}, {"damping": 0.3, "restart": torch.arange(40.0)}):
        assert pagerank(query, key, 0.5, **knobs).sum() == pytest.approx(1, abs=1e-5)


def test_heads_are_joined_by_the_root_of_the_mean_of_squares():
    query, key = random_attention(2, 2)
    alone = torch.stack([pagerank(query[head : head + 1], key[head : head + 1], 0.5) for head in range(2)])
    torch.testing.assert_close(pagerank(query, key, 0.5), alone.square().mean(0).sqrt())


def test_restarting_at_a_token_raises_it():
    query, key = random_attention(n=12)
    restart = torch.zeros(12)
    restart[9] = 1
    plain = pagerank(query, key, 0.5, damping=0.5)
    assert pagerank(query, key, 0.5, damping=0.5, restart=restart)[9] > plain[9]


def test_the_scale_of_the_restart_vector_does_not_matter():
    query, key = random_attention()
    weights = torch.arange(11.0)
    few, many = (pagerank(query, key, 0.5, damping=0.3, restart=weights * factor) for factor in (1, 1000))
    torch.testing.assert_close(few, many)


@pytest.mark.parametrize("block", [1, 3, 11, 64])
def test_working_in_blocks_of_rows_changes_nothing(block: int, monkeypatch: pytest.MonkeyPatch):
    query, key = random_attention()
    whole = pagerank(query, key, 0.5)
    monkeypatch.setattr(importance, "BLOCK", block)
    torch.testing.assert_close(pagerank(query, key, 0.5), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype):
    query, key = (tensor.to(dtype) for tensor in random_attention())
    result = pagerank(query, key, 0.5)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, pagerank(query.float(), key.float(), 0.5), rtol=0, atol=0)


def test_very_sharp_attention_stays_finite():
    query, key = random_attention()
    result = pagerank(query * 100, key * 100, 0.5, temperature=0.01)
    assert torch.isfinite(result).all()


def test_a_single_token_has_all_the_importance():
    query, key = random_attention(n=1)
    assert pagerank(query, key, 0.5).tolist() == [1.0]


def test_the_inputs_are_left_alone():
    query, key = random_attention()
    before = query.clone(), key.clone()
    pagerank(query, key, 0.5)
    assert torch.equal(query, before[0])
    assert torch.equal(key, before[1])


def test_nothing_is_kept_for_gradients():
    query, key = random_attention()
    assert not pagerank(query.requires_grad_(), key.requires_grad_(), 0.5).requires_grad


def test_memory_is_one_heads_square_and_rows(monkeypatch: pytest.MonkeyPatch):
    n, block = 64, 8
    monkeypatch.setattr(importance, "BLOCK", block)
    storages: dict[int, int] = {}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            output = function(*args, **(kwargs or {}))
            if isinstance(output, torch.Tensor):
                kept.append(output)  # no storage is freed, so no address comes twice
                storages[output.untyped_storage().data_ptr()] = output.untyped_storage().nbytes()
            return output

    kept: list[torch.Tensor] = []
    query, key = random_attention(heads=8, n=n)
    with Watch():
        pagerank(query, key, 0.5)
    for given in (query, key):
        storages.pop(given.untyped_storage().data_ptr(), None)
    sizes = sorted(storages.values(), reverse=True)
    assert sizes[0] == n * n * 4
    assert sizes[1] <= block * n * 4


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"iterations": 0}, "iterations"),
        ({"damping": 1.0}, "damping"),
        ({"damping": -0.1}, "damping"),
        ({"damping": math.nan}, "damping"),
        ({"restart": torch.ones(11)}, "damping is 0"),
        ({"damping": 0.2, "restart": torch.ones(10)}, "shape"),
        ({"damping": 0.2, "restart": torch.ones(11, 1)}, "shape"),
        ({"damping": 0.2, "restart": torch.zeros(11)}, "only zeros"),
        ({"damping": 0.2, "restart": torch.tensor([-1.0] + [1.0] * 10)}, "negative"),
        ({"damping": 0.2, "restart": torch.tensor([math.nan] + [1.0] * 10)}, "non-finite"),
        ({"damping": 0.2, "restart": torch.tensor([math.inf] + [1.0] * 10)}, "non-finite"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        pagerank(*random_attention(), 0.5, **knobs)


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ((4, 5), (4, 5)),
        ((1, 4, 5, 2), (4, 5, 2)),
        ((4, 5, 2), (2, 6, 2)),
        ((4, 5, 2), (2, 5, 3)),
        ((4, 5, 2), (3, 5, 2)),
        ((4, 0, 2), (2, 0, 2)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(query: tuple, key: tuple):
    with pytest.raises(ValueError, match="query has"):
        pagerank(torch.zeros(query), torch.zeros(key), 0.5)
