"""A run made by chance rather than by a model, awkward on purpose: tokens in no order, across frames, on a grid that is not square."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from aim.kernels.trace import Trace

PIXELS = 20  # of a patch's side


def make_run(
    seed: int = 0, frames: int = 5, rows: int = 4, columns: int = 7, window: int = 2, kept: tuple[float, ...] = ()
) -> SimpleNamespace:
    """Frames of one flat, darkish colour a patch; windows of `window` frames merged at random to a third of their patches.

    Args:
        kept: for each layer the share of tokens it runs on; layers that see some, and whose next one sees fewer, have scores.
    """
    kept = kept or (1, 1, 1, 0.8, 0.6, 0.35, 0.2, 0, 0)
    rng = np.random.default_rng(seed)
    patches = rows * columns
    assignment, first = np.zeros((frames, patches), np.int64), 0
    for start in range(0, frames, window):
        length = min(window, frames - start)
        tokens = max(1, length * patches // 3)
        filled = np.concatenate([np.arange(tokens), rng.integers(0, tokens, length * patches - tokens)])
        assignment[start : start + length] = first + rng.permutation(filled).reshape(length, patches)
        first += tokens
    assignment = rng.permutation(first)[assignment]
    survivors = [torch.arange(first)]
    for share in kept[1:]:
        chosen = rng.permutation(survivors[-1].numpy())[: int(share * first)]
        survivors.append(torch.from_numpy(np.sort(chosen)))
    lengths = [len(alive) for alive in survivors]
    scored = [0 < after < now for now, after in zip(lengths, [*lengths[1:], 0], strict=True)]
    scores = [
        torch.from_numpy(10 ** rng.uniform(-5, -1, count)).float() if has else None for count, has in zip(lengths, scored, strict=True)
    ]
    trace = Trace(
        num_layers=len(kept),
        frames=frames,
        rows=rows,
        columns=columns,
        tokens_per_layer=[(count, 9) for count in lengths],
        assignment=torch.from_numpy(assignment),
        group_sizes=torch.from_numpy(np.bincount(assignment.ravel(), minlength=first)),
        survivors=survivors,
        scores=scores,
    )
    colours = rng.integers(40, 150, (frames, rows, columns, 3), dtype=np.uint8)
    pictures = colours.repeat(PIXELS, axis=1).repeat(PIXELS, axis=2)
    return SimpleNamespace(frames=pictures, timestamps=0.25 + 0.5 * np.arange(frames), trace=trace, colours=colours)


def leave_out(run: SimpleNamespace, share: float = 0.4, seed: int = 0) -> SimpleNamespace:
    """The same run with about this share of its patches dropped before the language model; every merged token keeps one patch at least."""
    rng, flat = np.random.default_rng(seed), run.trace.assignment.flatten().numpy().copy()
    order = rng.permutation(flat.size)
    _, kept = np.unique(flat[order], return_index=True)
    dropped = rng.random(flat.size) < share
    dropped[order[kept]] = False
    flat[dropped] = -1
    run.trace.assignment = torch.from_numpy(flat).view_as(run.trace.assignment)
    run.trace.group_sizes = torch.from_numpy(np.bincount(flat[flat >= 0], minlength=run.trace.merged_tokens))
    run.trace.anchors = torch.from_numpy(order[kept])
    return run


def absorb(run: SimpleNamespace, seed: int = 0) -> SimpleNamespace:
    """The same run in which two thirds of what a layer lost was averaged, by chance, into what it kept."""
    rng, trace = np.random.default_rng(seed), run.trace
    held = np.arange(trace.merged_tokens)
    for layer, alive in enumerate(map(np.asarray, trace.survivors)):
        if layer == 0 or len(alive) == len(trace.survivors[layer - 1]):
            continue
        goes_to = np.full(trace.merged_tokens + 1, -1)  # the last is where -1 reads
        if len(alive):
            goes_to[:-1] = np.where(rng.random(trace.merged_tokens) < 2 / 3, rng.choice(alive, trace.merged_tokens), -1)
        goes_to[alive] = alive
        held = goes_to[held]
        trace.holders[layer] = torch.from_numpy(held)
    return run


def last_layers(trace: Trace) -> dict[int, int]:
    """The last layer each merged token was in, by looking for it in every layer."""
    return {
        token: max((layer for layer, alive in enumerate(trace.survivors) if token in alive), default=-1)
        for token in range(trace.merged_tokens)
    }
