"""Clustering by density peaks (DPC-kNN): a centre is a token in a dense place that is far from every denser one (Du et al. 2016).

The caller chooses what is clustered and how many centres there are. FlashVID, HoliTom and SparseVLM cluster visual tokens by it.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FALL = 1e-6  # of densities along the tokens


def density_peaks(tokens: Tensor, neighbours: int, count: int) -> tuple[Tensor, Tensor]:
    """The `count` tokens that are the best centres of clusters.

    D are the Euclidean distances divided by √C. The density of token i is exp(-mean of D² to its k nearest) + 1e-6 · (1 - i / m), and it is
    one of these k itself. Its gap is the least D to a denser token, or for the densest one the largest D of all. The centres are those of
    the largest gap · density, and among equals the lower index comes first.

    The official codes add 1e-6 times a random number. What falls along the tokens takes its place, so that the result is the same each
    time. It tells equal tokens apart, and it decides among tokens that are so far from all others that their density vanishes.

    Args:
        tokens: [..., m, C], floating. Sets of tokens do not depend on each other.
        neighbours: k, at least 1; where a set has fewer tokens, all of them count.
        count: centres of each set, 0...m.

    Returns:
        The indices of the centres, long [..., count], the best first, and D, float32 [..., m, m], which `nearest_centres` takes. It takes
        O(m²) memory beside O(m · C).
    """
    amount, channels = tokens.shape[-2:]
    # Distances are taken from products, and less is lost to rounding around the mean.
    x = tokens.float()
    x = x - x.mean(dim=-2, keepdim=True)
    squares = x.square().sum(dim=-1)
    squared = squares[..., :, None] + squares[..., None, :] - 2 * (x @ x.mT)
    squared = ((squared + squared.mT) / (2 * channels)).clamp_(min=0)  # as equal both ways as distances are
    squared.diagonal(dim1=-2, dim2=-1).zero_()
    distances = squared.sqrt()
    index = torch.arange(amount, device=x.device)
    density = torch.exp(-squared.topk(min(neighbours, amount), dim=-1, largest=False).values.mean(dim=-1)) + _FALL * (1 - index / amount)
    rank = density.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)  # 0 is the densest
    denser = rank[..., None, :] < rank[..., :, None]
    gap = torch.where(rank == 0, distances.amax(dim=(-2, -1))[..., None], distances.masked_fill(~denser, torch.inf).amin(dim=-1))
    ranked = (gap * density).argsort(dim=-1, descending=True, stable=True)
    return ranked[..., :count], distances


def nearest_centres(distances: Tensor, centres: Tensor) -> Tensor:
    """Which centre each token goes to: long [..., m], indices into `centres`. A centre goes to itself, and ties to the earlier centre.

    Args:
        distances: [..., m, m], as `density_peaks` returns them.
        centres: long [..., n], different indices in any order, n at least 1.
    """
    count = centres.shape[-1]
    columns = centres[..., None, :].expand(*distances.shape[:-1], count)
    nearest = distances.gather(-1, columns).argmin(dim=-1)
    own = torch.arange(count, device=centres.device).expand(centres.shape)
    return nearest.scatter(-1, centres, own)


def density_peaks_flops(amount: int, channels: int) -> int:
    """FLOPs of `density_peaks` on m tokens of size C: 2·m²·C (products) + 4·m·C (mean, differences, squares). Sorting is left out."""
    return 2 * amount * amount * channels + 4 * amount * channels
