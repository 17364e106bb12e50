"""PageRank against loops in float64 and a chain worked out by hand; memory, types and refusals, shared with last-token attention."""

from __future__ import annotations

import math

import pytest
import torch

from aim.kernels import importance
from aim.kernels.importance import last_token_attention, pagerank
from aim.kernels.refusal import Refusal
from tests.attention import Memory, Waits, random_attention
from tests.rows import one_in


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


def test_tokens_to_restart_at_are_weights_of_one_each():
    query, key = random_attention()
    tokens = torch.tensor([False] * 7 + [True, True, False, True])
    weighed, named = (pagerank(query, key, 0.5, damping=0.3, restart=restart) for restart in (tokens.float(), tokens))
    torch.testing.assert_close(named, weighed)


def test_no_token_to_restart_at_is_a_uniform_restart():
    query, key = random_attention()
    none = pagerank(query, key, 0.5, damping=0.3, restart=torch.zeros(11, dtype=torch.bool))
    torch.testing.assert_close(none, pagerank(query, key, 0.5, damping=0.3))


def smallest_budget(query: torch.Tensor, key: torch.Tensor, iterations: int = 5) -> int:
    """The fewest bytes that `pagerank` accepts, as its refusal names them."""
    with pytest.raises(Refusal, match="memory_budget is 0 bytes; .* need [0-9]+ at least") as refusal:
        pagerank(query, key, 0.5, iterations=iterations, memory_budget=0)
    return int(str(refusal.value).split(" need ")[1].split()[0])


@pytest.mark.parametrize("n", [1, 2, 10, 11, 12, 25])
@pytest.mark.parametrize("rows", [1, 3, 5, 11, 64])
def test_the_rows_of_a_block_make_no_difference(rows: int, n: int, monkeypatch: pytest.MonkeyPatch):
    query, key = random_attention(n=n)
    knobs = {"temperature": 0.3, "iterations": 4, "damping": 0.2, "restart": torch.arange(1.0, n + 1)}
    monkeypatch.setattr(importance, "CPU_ROWS", rows)
    for settings in ({}, knobs):
        expected = pagerank_by_loops(query, key, 0.5, **{"temperature": 0.1, "iterations": 5, **settings})
        torch.testing.assert_close(pagerank(query, key, 0.5, **settings), torch.tensor(expected), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 3), (6, 1)])
@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_the_memory_budget_makes_no_difference(heads: int, key_heads: int, iterations: int):
    query, key = random_attention(heads, key_heads, n=19)
    smallest = smallest_budget(query, key, iterations)
    expected = torch.tensor(pagerank_by_loops(query, key, 0.5, 0.1, iterations))
    for budget in (smallest, smallest + 1000, 2 * smallest, 3 * smallest, 2**30):
        result = pagerank(query, key, 0.5, iterations=iterations, memory_budget=budget)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-7)


def test_queries_and_keys_laid_out_token_by_token_give_the_same():
    # Models hand over [n, H, d] with two axes swapped.
    query, key = random_attention(n=19)
    by_token = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in (query, key)]
    torch.testing.assert_close(pagerank(*by_token, 0.5), pagerank(query, key, 0.5))
    torch.testing.assert_close(last_token_attention(*by_token, 0.5), last_token_attention(query, key, 0.5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype):
    query, key = (tensor.to(dtype) for tensor in random_attention())
    for importance_of in (pagerank, last_token_attention):
        result = importance_of(query, key, 0.5)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, importance_of(query.float(), key.float(), 0.5), rtol=0, atol=0)


def test_very_sharp_attention_stays_finite():
    query, key = random_attention()
    assert torch.isfinite(pagerank(query * 100, key * 100, 0.5, temperature=0.01)).all()
    assert torch.isfinite(last_token_attention(query * 100, key * 100, 100)).all()


def test_a_single_token_has_all_the_importance():
    query, key = random_attention(n=1)
    assert pagerank(query, key, 0.5).tolist() == [1.0]
    assert last_token_attention(query, key, 0.5).tolist() == [1.0]


def test_the_inputs_are_left_alone():
    query, key = random_attention()
    before = query.clone(), key.clone()
    pagerank(query, key, 0.5)
    last_token_attention(query, key, 0.5)
    assert torch.equal(query, before[0])
    assert torch.equal(key, before[1])


def test_nothing_is_kept_for_gradients():
    query, key = random_attention()
    for importance_of in (pagerank, last_token_attention):
        assert not importance_of(query.requires_grad_(), key.requires_grad_(), 0.5).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", one_in(2, [1.0, 1.5, 2.0, 4.0, 30.0]))
def test_no_more_memory_is_held_than_the_budget(share: float, dtype: torch.dtype):
    heads, n = 8, 80
    query, key = (tensor.to(dtype) for tensor in random_attention(heads, key_heads=4, n=n, d=16))
    budget = int(share * smallest_budget(query, key))
    knobs = {"damping": 0.2, "restart": torch.ones(n), "memory_budget": budget}
    with Memory() as memory:
        pagerank(query, key, 0.5, **knobs)
    assert memory.peak <= budget
    # Nor is the figure padded: what is held comes near it, until all that there is fits.
    assert memory.peak > budget / 2 or share == 30


def test_memory_grows_with_tokens_not_with_their_square():
    peaks = []
    for n in (200, 400, 800):
        query, key = random_attention(n=n)
        with Memory() as memory:
            pagerank(query, key, 0.5)
        peaks.append(memory.peak)
    assert peaks[2] / peaks[1] < 2.1 and peaks[1] / peaks[0] < 2.1


@pytest.mark.parametrize(
    ("call", "waits"),
    [
        (lambda query, key: pagerank(query, key, 0.5, damping=0.1), 0),
        (lambda query, key: pagerank(query, key, 0.5, damping=0.1, restart=torch.ones(11)), 1),
        (lambda query, key: pagerank(query, key, 0.5, damping=0.1, restart=torch.arange(11) > 4), 0),
        (lambda query, key: last_token_attention(query, key, 0.5), 0),
        (lambda query, key: last_token_attention(query, key, 0.5, torch.tensor([3, -1])), 1),
    ],
)
def test_the_device_is_waited_for_only_to_check_what_is_given(call, waits: int):
    with Waits() as counted:
        call(*random_attention())
    assert counted.count == waits


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
        ({"memory_budget": -1}, "memory_budget"),
        ({"memory_budget": 1000}, "memory_budget is 1000 bytes; 11 tokens"),
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
    with pytest.raises(ValueError, match="query has"):
        last_token_attention(torch.zeros(query), torch.zeros(key), 0.5)
