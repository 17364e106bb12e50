"""Tokens that are relevant to a question and unlike one another (CDPruner, arXiv 2506.10967).

They are the greedy MAP of a determinantal point process.

The caller says what relevance is measured by, and how many tokens a frame keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

# A gain below this share of what it was at first is rounding: the tokens that are picked span that token already.
NOTHING_NEW = 1e-6


def relevance(image: Tensor, text: Tensor, over_clip: bool = True) -> Tensor:
    """How relevant each token is to a question, float32 [F, T], above 0 and up to about 1.

    It is minus the mean cosine with the pieces of the text, moved and scaled so that the least is 10⁻⁶ / (max - min) and the largest
    about 1. The minus is the official code's. Where all are equal, all are 1.

    Args:
        image: [F, T, D], the tokens where they compare with text.
        text: [n, D], n ≥ 1.
        over_clip: least and largest are those of the clip; else of each frame.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    if image.ndim != 3 or text.ndim != 2 or image.shape[2] != text.shape[1] or not len(text):
        raise ValueError(
            f"image has shape {tuple(image.shape)} and text {tuple(text.shape)}; pass [F, T, D] and [n, D] with n of at least 1."
        )
    # The mean of cosines is the cosine's product with the mean of the unit vectors, so that the text's length costs nothing.
    unlike = -(normalize(image.float(), dim=-1) @ normalize(text.float(), dim=-1).mean(dim=0))
    axes = (0, 1) if over_clip else (1,)
    least, largest = unlike.amin(dim=axes, keepdim=True), unlike.amax(dim=axes, keepdim=True)
    return torch.where(largest > least, (unlike - least + 1e-6) / (largest - least), 1.0)


def diverse_and_relevant(patches: Tensor, relevant: Tensor, count: int) -> Tensor:
    """The places in each frame that a greedy search keeps, long [F, count], ascending.

    A frame's kernel is K_ij = r_i · cos(x_i, x_j) · r_j. The search takes `count` times the token whose addition multiplies the determinant
    of the kernel among the kept by most, which is its gain. Of equal gains the lower place is taken. Where a frame keeps more tokens than
    the embeddings have channels, no token adds anything any more, and the lowest places are taken. (The official code divides 0 by 0.)

    The picks follow one after the other, all frames at once. It takes O(F·T·(C + count)) memory: rows of the kernel are made as they
    are needed.

    Args:
        patches: projected tokens [F, T, C].
        relevant: r, float32 [F, T], above 0.
        count: 1 to T.

    Raises:
        ValueError: a count out of range, or shapes that do not fit each other.
    """
    frames, per_frame, _ = patches.shape
    if not 1 <= count <= per_frame or relevant.shape != (frames, per_frame):
        raise ValueError(
            f"count is {count}, relevant has shape {tuple(relevant.shape)}; pass 1 to {per_frame}, and [{frames}, {per_frame}]."
        )
    unit = normalize(patches.float(), dim=-1)
    weighed = unit * relevant[..., None]
    gain = weighed.square().sum(dim=-1)  # [F, T]
    floor = NOTHING_NEW * gain
    spanned = unit.new_zeros(frames, count, per_frame)  # what each pick has in common with each token
    frame, picks = torch.arange(frames, device=patches.device), []
    for number in range(count):
        pick = gain.argmax(dim=1)
        picks.append(pick)
        own, least = gain[frame, pick][:, None], floor[frame, pick][:, None]
        row = (weighed @ weighed[frame, pick][:, :, None])[..., 0]
        before = spanned[:, :number]
        row = row - (before[frame, :, pick][:, None] @ before)[:, 0]
        spanned[:, number] = torch.where(own > least, row * own.clamp(min=1e-30).rsqrt(), 0.0)
        gain = gain - spanned[:, number].square()
        gain = torch.where((gain < floor) & ~gain.isneginf(), 0.0, gain).scatter(1, pick[:, None], -torch.inf)
    return torch.stack(picks, dim=1).sort(dim=1).values


def conditional_diversity_flops(hidden: int, frames: int, tokens_per_frame: int, count: int) -> int:
    """FLOPs of `relevance` and `diverse_and_relevant` on embeddings of size C = `hidden`.

    6·C a token (unit vectors, weights, and the product with the question's mean) and, for pick number i = 0... of a frame, 2·T·C (row of
    the kernel) + 2·T·i (what is spanned already) + 4·T. The mean over the question's n tokens, 4·n·C, is left out.
    """
    tokens = frames * tokens_per_frame
    return tokens * (6 * hidden + count * (2 * hidden + 4) + count * (count - 1))
