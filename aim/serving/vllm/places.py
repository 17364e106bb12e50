"""M-RoPE positions of merged tokens, as columns of their embeddings and back. Tensors only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

# Time, row and column as two digits to the base 256 each, since bfloat16 holds whole numbers exactly only up to 256.
BASE = 256
COLUMNS = 6


def grid_places(steps: int, rows: int, columns: int, factor: float = 1.0) -> Tensor:
    """Long [3, steps · rows · columns]: time, row and column of every token of a clip that starts at 0.

    `factor` is how far time goes on from step to step; the products are rounded down.
    """
    time, row, column = torch.meshgrid(torch.arange(steps), torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([(time.double() * factor).long(), row, column]).flatten(1)


def with_places(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens [n, C] with their places [3, n], each from 0 to 65,535, as columns: [n, C + 6]."""
    places = places.T.to(tokens.device)
    return torch.cat([tokens, (places // BASE).to(tokens.dtype), (places % BASE).to(tokens.dtype)], dim=1)


def places_of(embeddings: Tensor) -> Tensor:
    """Long [3, n], the places that `with_places` put on embeddings [n, C + 6]."""
    digits = embeddings[:, -COLUMNS:].long().T.cpu()
    return BASE * digits[:3] + digits[3:]


def text_and_bases(length: int, pictures: Iterable[tuple[int, int, Tensor]]) -> Tensor:
    """Positions [3, length] of a prompt before its pictures are encoded: text's are final.

    Args:
        length: tokens of the prompt.
        pictures: in order, of each clip or image where its placeholders start, how many there are, and the places [3, T] of its grid before
            merging. Text behind it goes on after the largest of these. A picture that was not merged gets its places at once. A merged
            one's placeholders stand at its start until it is encoded.
    """
    positions = torch.arange(length).repeat(3, 1)
    for start, count, places in pictures:
        base = positions[:, start : start + 1].clone()  # the same three times
        positions[:, start : start + count] = base + (places if places.shape[1] == count else 0)
        positions[:, start + count :] = base + places.max() + 1 + torch.arange(length - start - count)
    return positions


def on_embeddings(visual: Tensor, embeddings: Sequence[Tensor], positions: Tensor, computed: int) -> Tensor:
    """Positions [3, length] with those that the next embeddings bring along.

    Args:
        visual: bool [length], which tokens of the prompt are placeholders.
        embeddings: those of the part of the prompt that is computed next, with columns. They belong to the placeholders from `computed` on.
        positions: as `text_and_bases` or an earlier call left them.
    """
    positions = positions.clone()
    if not embeddings:
        return positions
    places = torch.cat([places_of(embedding) for embedding in embeddings], dim=1)
    here = visual[computed:].nonzero().flatten()[: places.shape[1]] + computed
    # A picture starts behind the last text before it.
    text = torch.where(visual, -1, torch.arange(len(visual))).cummax(0).values[here]
    base = torch.where(text < 0, 0, positions[0, text.clamp(min=0)] + 1)
    positions[:, here] = base + places
    return positions
