"""The attention of one token, or of several, against the attention map in float64."""

from __future__ import annotations

import math

import pytest
import torch

from aim.kernels.importance import last_token_attention
from tests.attention import Memory, random_attention


def last_row_of_the_map(query, key, scaling, index: int) -> torch.Tensor:
    """Row `index` of the whole causal attention map in float64, mean over the query heads."""
    heads, n, _ = query.shape
    keys = torch.stack([key[head // (heads // len(key))] for head in range(heads)]).double()
    logits = torch.einsum("hid,hjd->hij", query.double(), keys) * scaling
    attention = logits.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf).softmax(dim=-1)
    return attention[:, index].mean(dim=0).float()


@pytest.mark.parametrize(("heads", "key_heads"), [(1, 1), (4, 4), (6, 2), (6, 1)])
@pytest.mark.parametrize("n", [1, 2, 11, 130])
def test_last_token_attention_is_the_maps_last_row(heads: int, key_heads: int, n: int):
    query, key = random_attention(heads, key_heads, n)
    result = last_token_attention(query, key, 0.5)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, last_row_of_the_map(query, key, 0.5, -1), rtol=1e-5, atol=1e-7)
    assert result.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("index", [0, 4, 10, -1, -3, -11])
def test_another_tokens_attention_is_its_row_and_nothing_after_it(index: int):
    query, key = random_attention()
    expected = last_row_of_the_map(query, key, 0.5, index)
    for of in (index, torch.tensor(index), torch.tensor([index], dtype=torch.int32)):
        torch.testing.assert_close(last_token_attention(query, key, 0.5, of), expected, rtol=1e-5, atol=1e-7)
    assert (last_token_attention(query, key, 0.5, index)[index % 11 + 1 :] == 0).all()


def test_several_tokens_attention_is_the_mean_of_theirs():
    query, key = random_attention()
    expected = torch.stack([last_row_of_the_map(query, key, 0.5, index) for index in (8, 2, -1)]).mean(dim=0)
    torch.testing.assert_close(last_token_attention(query, key, 0.5, torch.tensor([8, 2, -1])), expected, rtol=1e-5, atol=1e-7)


def test_last_token_attention_reads_no_other_query():
    query, key = random_attention()
    other = query.clone()
    other[:, :-1] = math.nan
    assert torch.equal(last_token_attention(other, key, 0.5), last_token_attention(query, key, 0.5))


def test_last_token_attention_grows_with_tokens_not_with_their_square():
    heads, n = 6, 2000
    query, key = random_attention(heads, n=n)
    with Memory() as memory:
        last_token_attention(query, key, 0.5)
    assert memory.peak < 4 * heads * n * 4


NO_INDICES = (torch.tensor([1.0]), torch.tensor([True]), torch.tensor([[1]]), torch.tensor([], dtype=torch.long))


@pytest.mark.parametrize("of", [11, -12, torch.tensor(11), torch.tensor([0, -12]), *NO_INDICES])
def test_an_index_of_no_token_is_refused(of: int | torch.Tensor):
    with pytest.raises(ValueError, match="-11 to 10"):
        last_token_attention(*random_attention(), 0.5, of)
