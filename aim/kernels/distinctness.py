"""Which visual tokens are least like the rest of their frame and of the clip (VidCom2, arXiv 2505.14454)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)  # of the kernels that likeness sums
TEMPERATURE = 0.01  # of the softmax over frames


def distinct_places(patches: Tensor, ratio: float, count: int | None = None) -> Tensor:
    """The tokens of each frame that are least like the mean of the clip and the mean of the frame.

    A frame keeps as many as `frame_shares` gives it, rounded half to even, at least 1. Likeness is taken over the steadier half of the
    channels (`steady_units`). All is float32, and ties go to the lower index.

    Args:
        patches: [F, T, C], floating.
        ratio: share of the tokens that is kept on average, in (0, 1].
        count: 1...F·T, to keep exactly so many: of too many the ones that are most alike go, and of too few the least alike come in. None
            leaves the number to the clip. Then the host waits for the device to learn it.

    Returns:
        long, their places frame · T + token, ascending.
    """
    units = steady_units(patches)
    to_clip = likeness(units, units.mean(dim=(0, 1)))
    alike = to_clip + likeness(units, units.mean(dim=1, keepdim=True))  # [F, T]
    counts = (frame_shares(to_clip, ratio) * patches.shape[1]).round().clamp(min=1)
    ranks = alike.argsort(dim=1, stable=True).argsort(dim=1)
    chosen = (ranks < counts[:, None]).flatten()
    if count is None:
        return chosen.nonzero().flatten()
    order = alike.flatten().argsort(stable=True)
    order = order[(~chosen[order]).byte().argsort(stable=True)]  # the chosen ones first, each part from the least alike up
    return order[:count].sort().values


def steady_units(patches: Tensor) -> Tensor:
    """The ⌊C / 2⌋ channels of lowest variance over all tokens of [F, T, C], at least one, each token scaled to length 1. float32."""
    x = patches.float()
    variance = x.flatten(0, 1).var(dim=0, correction=0)
    channels = variance.argsort(stable=True)[: max(1, len(variance) // 2)].sort().values
    return normalize(x[..., channels], dim=-1)


def likeness(units: Tensor, centre: Tensor) -> Tensor:
    """How much tokens [..., C] are like `centre`: the sum of exp(-distance² / 2a) over the widths a, at most their number."""
    squared = (units - centre).square().sum(dim=-1)
    return torch.stack([(squared / (-2 * width)).exp() for width in WIDTHS]).sum(dim=0)


def frame_shares(to_clip: Tensor, ratio: float) -> Tensor:
    """The share that each frame keeps, float32 [F], by its tokens' likeness to the clip [F, T].

    With p the softmax over frames of -(mean likeness) / 0.01 it is ratio · (1 + p - mean p), at most 1. The less a frame is like the clip,
    the more it keeps.
    """
    own = -to_clip.mean(dim=1)
    p = ((own - own.max()) / TEMPERATURE).softmax(dim=0)
    return (ratio * (1 + p - p.mean())).clamp(max=1)


def distinctness_flops(hidden: int, frames: int, tokens_per_frame: int) -> int:
    """FLOPs of `distinct_places` on tokens of size C = `hidden`: for each token 4·C (variances: mean, difference, square, sum) and for its
    h = ⌊C / 2⌋ steady channels 3·h (length 1) + 2·(1 + 3)·h (two means, two distances). Exponentials and sorting are left out."""
    return frames * tokens_per_frame * (4 * hidden + 11 * max(1, hidden // 2))
