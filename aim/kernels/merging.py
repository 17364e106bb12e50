"""Merging similar visual tokens before the LLM: repeated bipartite matching (AIM, arXiv 2412.03248, section 3.2).

The caller chooses how many tokens to leave (`aim.kernels.schedule`). The engine decides where the merged tokens go in the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from aim.kernels.bounds import Bounds
from aim.kernels.schedule import check_merge_order, frame_windows, merge_steps, merged_per_frame

# Bytes that merging may hold at a time beside its input and what it returns. A GPU waits for the host, which hands over some 60 operations
# for each step and part, so that one part is best: 32 frames of a 7B model take 265 MB.
MEMORY_BUDGET, GPU_MEMORY_BUDGET = 256 * 2**20, 2**30


@dataclass(frozen=True)
class Merge:
    """W windows of T tokens, each merged into M.

    Attributes:
        tokens: merged embeddings [W, M, C], dtype of the input.
        assignment: long [W, T], token → index of its merged token within the window, 0...M-1.
        sizes: long [W, M], tokens in each merged token; each row sums to T.
        anchors: long [W, M], the token (0...T-1) whose place each merged token keeps; ascending with merge_order "raster".
    """

    tokens: Tensor
    assignment: Tensor
    sizes: Tensor
    anchors: Tensor


@dataclass(frozen=True)
class MergedClip:
    """A clip of F frames of T tokens, merged into M in all: `Merge` with the windows laid end to end.

    Attributes:
        tokens: merged embeddings [M, C], window after window.
        assignment: long [F, T], token → index of its merged token in the clip, 0...M-1; -1 for a token that is dropped.
        sizes: long [M], tokens in each merged token; they sum to F·T where none is dropped.
        anchors: long [M], frame · T + token whose place each merged token keeps; ascending with merge_order "raster".
    """

    tokens: Tensor
    assignment: Tensor
    sizes: Tensor
    anchors: Tensor


def merge_clip(
    patches: Tensor,
    merge_ratio: float,
    merge_window: int = 1,
    merge_order: str = "raster",
    weighted: bool = False,
    memory_budget: int | None = None,
    keys: Tensor | None = None,
) -> MergedClip:
    """Merge a clip's visual tokens frame by frame, or in windows of a few frames.

    Args:
        patches: projected visual tokens [F, T, C] in raster order.
        merge_ratio: share of each window's tokens to leave, in (0, 1]; see `aim.kernels.schedule.merged_per_frame` for their number.
        merge_window: frames merged together, ≥ 1; the paper's is 1. A last window is shorter where F does not divide.
        merge_order, weighted: see `merge_tokens`.
        keys: [F, T, D], what the tokens are compared by in place of themselves; see `merge_tokens`.
        memory_budget: bytes to work with at a time. Windows do not depend on each other, so a long clip is merged part by part, where a
            part has at least one window. By default 1 GiB on CUDA, and 256 MiB elsewhere.

    Raises:
        Refusal: a knob is out of range.
        ValueError: `patches` or `keys` is not floating [F, T, ...].
    """
    _check_embeddings(patches)
    per_frame = patches.shape[1]
    if memory_budget is None:
        memory_budget = GPU_MEMORY_BUDGET if patches.is_cuda else MEMORY_BUDGET
    merges: list[Merge] = []
    first_frame = 0
    for windows, length in frame_windows(patches.shape[0], merge_window):
        tokens = length * per_frame
        here = slice(first_frame, first_frame + windows * length)
        part = patches[here].reshape(windows, tokens, -1)
        compared = None if keys is None else keys[here].reshape(windows, tokens, -1)
        # A window's tokens are held as float32, as unit vectors and once more as means, beside their similarities, T² / 4. So are keys.
        values = part[0].numel() + (0 if compared is None else compared[0].numel())
        at_once = max(1, memory_budget // (torch.float32.itemsize * (3 * values + tokens**2 // 4)))
        target = merged_per_frame(merge_ratio, tokens, merge_order)
        number = ceil(windows / at_once)
        parts = part.tensor_split(number)  # of nearly the same size
        by = [None] * len(parts) if compared is None else compared.tensor_split(number)
        merges += [merge_tokens(some, target, merge_order, weighted, own) for some, own in zip(parts, by, strict=True)]
        first_frame += windows * length

    assignments, anchors, merged_before, tokens_before = [], [], 0, 0
    for merge in merges:
        windows, target = merge.sizes.shape
        tokens = merge.assignment.shape[1]
        window = torch.arange(windows, device=patches.device)[:, None]
        assignments.append((merge.assignment + window * target + merged_before).reshape(-1, per_frame))
        anchors.append((merge.anchors + window * tokens + tokens_before).flatten())
        merged_before += windows * target
        tokens_before += windows * tokens
    return MergedClip(
        tokens=torch.cat([merge.tokens.flatten(0, 1) for merge in merges]),
        assignment=torch.cat(assignments),
        sizes=torch.cat([merge.sizes.flatten() for merge in merges]),
        anchors=torch.cat(anchors),
    )


def merge_tokens(
    x: Tensor, target: int, merge_order: str = "raster", weighted: bool = False, keys: Tensor | None = None, largest_step: float = 0.5
) -> Merge:
    """Merge each window's T tokens into `target` by repeated bipartite steps (AIM, section 3.2).

    One step splits the tokens into A (0, 2, 4...) and B (1, 3, 5...). Each A token links to its most similar B token (cosine, float32); the
    strongest links are kept, where ties go to the lower index, and each B token becomes the plain mean of itself and the A tokens linked to
    it in this step. The unlinked A tokens and all B tokens go on. Later steps average means without weights, as the paper does, so a merged
    token need not be the mean of its patches. How many tokens a step removes is said by `aim.kernels.schedule.merge_steps`.

    Args:
        x: embeddings [W, T, C], floating; windows never mix.
        target: tokens to leave of each window, 1...T; T leaves everything as it is (and `tokens` is `x` itself).
        merge_order: with "raster" the tokens go on by their places, from step to step and to the LLM. With "official" they go on as the
            official code's do: the unlinked A tokens from the most to the least similar, then the B tokens. Its steps also remove other
            numbers.
        weighted: later steps weight each mean by the tokens that went into it (ToMe, arXiv 2210.09461, section 3), so that a merged token
            is the mean of its patches.
        keys: [W, T, D], floating. Tokens are compared by these in place of themselves, and each step averages both alike.
        largest_step: share of the tokens that one step of "raster" may remove, above 0 and up to 1/2. In smaller steps fewer tokens have
            to link that are not alike.

    Raises:
        Refusal: target not in 1...T, or an unknown merge_order.
        ValueError: `x` or `keys` is not floating [W, T, ...], or they differ in W or T.
    """
    _check_embeddings(x)
    windows, num_tokens, _ = x.shape
    Bounds(1, num_tokens, whole=True).check("target", target, f"A window here has {num_tokens} tokens; merging leaves some of them.")
    check_merge_order(merge_order)
    _check_keys(x, keys)
    identity = torch.arange(num_tokens, device=x.device).repeat(windows, 1)
    assignment = anchors = identity
    # Means are carried in float32 from step to step; half precision would round once a step.
    as_it_is = target == num_tokens
    merged = x if as_it_is else x.to(_precision(x))
    compared = keys if keys is None or as_it_is else keys.to(_precision(keys))
    weights = torch.ones(windows, num_tokens, device=x.device, dtype=_precision(x))
    for remove in merge_steps(num_tokens, target, merge_order, largest_step):
        destination, kept, sequence = _matched(merged if compared is None else compared, remove, merge_order)
        if compared is not None:
            compared, _ = _means(compared, weights.to(compared.dtype), destination, sequence, kept.shape[1])
        merged, members = _means(merged, weights, destination, sequence, kept.shape[1])
        weights = members if weighted else torch.ones_like(members)
        assignment = destination.gather(1, assignment)
        anchors = anchors.gather(1, kept)
    sizes = torch.zeros_like(anchors).scatter_add_(1, assignment, torch.ones_like(assignment))
    return Merge(tokens=merged.to(x.dtype), assignment=assignment, sizes=sizes, anchors=anchors)


def _matched(compared: Tensor, remove: int, merge_order: str) -> tuple[Tensor, Tensor, Tensor]:
    """One matching of tokens that are compared by [W, T, D]; it removes `remove` (1...T//2) of each window.

    Returns:
        destination [W, T], old token → new index; kept [W, T - remove], new token → old index, in merge_order; [W, T], the sequence in
        which the old tokens are summed: those that are kept, then those that are linked.
    """
    windows, num_tokens, _ = compared.shape
    unit = normalize(compared.float(), dim=-1)
    similarity = unit[:, 0::2] @ unit[:, 1::2].transpose(1, 2)  # [W, A, B]
    strength, partner = similarity.max(dim=-1)  # [W, A]
    ranked = strength.argsort(dim=-1, descending=True, stable=True)  # [W, A], indices into A
    linked, unlinked = ranked[:, :remove], ranked[:, remove:]
    partner_token = 2 * partner + 1

    tokens = torch.arange(num_tokens, device=compared.device).repeat(windows, 1)
    into = partner_token.gather(1, linked)  # [W, remove], indices into T
    kept = torch.cat([2 * unlinked, tokens[:, 1::2]], dim=1)
    if merge_order == "raster":
        kept = kept.sort(dim=1).values
    new_index = torch.zeros_like(tokens).scatter_(1, kept, tokens[:, : num_tokens - remove])
    destination = new_index.gather(1, tokens.scatter(1, 2 * linked, into))
    return destination, kept, torch.cat([kept, 2 * linked], dim=1)


def _means(x: Tensor, weights: Tensor, destination: Tensor, order: Tensor, merged: int) -> tuple[Tensor, Tensor]:
    """Weighted means [W, merged, C] of the tokens of x [W, T, C] that share a destination [W, T], and their summed weights [W, merged].

    They are summed in the sequence of `order` [W, T].
    """
    windows, num_tokens, channels = x.shape
    groups, by_group = destination.gather(1, order).sort(dim=1, stable=True)
    members = (order.gather(1, by_group) + num_tokens * torch.arange(windows, device=x.device)[:, None]).flatten()
    sizes = groups.new_zeros(windows, merged).scatter_add_(1, groups, torch.ones_like(groups)).flatten()
    # A bag is read once and summed in the same sequence whatever the number of threads. index_put_ on CPU and scatter_add_ on CUDA add in
    # the sequence in which their threads happen to arrive, and a difference in the last bit can decide a tie of the next step. The weights
    # are whole numbers, whose sum is the same in any sequence.
    own = weights.flatten()[members]
    summed = weights.new_zeros(windows, merged).scatter_add_(1, groups, own.view(windows, -1))
    sums = embedding_bag(members, x.reshape(-1, channels), sizes.cumsum(0) - sizes, mode="sum", per_sample_weights=own)
    return sums.view(windows, -1, channels).div_(summed[..., None]), summed


def _precision(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _check_keys(x: Tensor, keys: Tensor | None) -> None:
    if keys is not None:
        _check_embeddings(keys)
        if keys.shape[:2] != x.shape[:2]:
            raise ValueError(
                f"embeddings have shape {tuple(x.shape)} and keys {tuple(keys.shape)}; each token is compared by one key. "
                "Pass [windows, tokens, channels] and [windows, tokens, size]."
            )


def _check_embeddings(x: Tensor) -> None:
    if x.ndim != 3 or not x.is_floating_point():
        raise ValueError(
            f"embeddings have shape {tuple(x.shape)} and dtype {x.dtype}; merging takes floating [windows, tokens, channels]. "
            "Pass one clip's projected visual tokens, one row of tokens a frame."
        )
