"""Where a prompt's pictures are: which of its tokens are patches of which grid, which are text, and which text is the question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aim.families import Family, Picture, Reader
from aim.kernels.bounds import refusal
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal


@dataclass(frozen=True)
class Block:
    """Patches that are merged together: a clip, or neighbouring images of one size, which count as its frames.

    Attributes:
        grid: F frames of T patches.
        places: long [F·T], the places of the patches in the prompt.
    """

    grid: Grid
    places: Tensor


@dataclass(frozen=True)
class Prompt:
    """One prompt of a batch. Places count from its first token behind the padding.

    Attributes:
        padding: how many padding tokens stand before it.
        length: how many tokens it has without the padding.
        blocks: its pictures in order, at least one.
        text: long [t], the places of everything that is no patch, ascending.
        question: bool [t], which of the text stands behind the last picture.
        tower_tokens: for each block (kind, first, last + 1): where its tokens lie among all that the vision tower made for pictures of that
            kind in the batch.
    """

    padding: int
    length: int
    blocks: tuple[Block, ...]
    text: Tensor
    question: Tensor
    tower_tokens: tuple[tuple[str, int, int], ...]


def read_prompts(ids: Tensor, mask: Tensor | None, inputs: dict, config: Any, family: Family) -> list[Prompt]:
    """The prompts of a batch.

    Args:
        ids: [B, n], the token ids.
        mask: [B, n], 0 for padding, which stands on the left; None where there is no padding.
        inputs: keyword arguments of the model's forward, from which a family reads the sizes of its pictures.
        config: the model's.
        family: the model's.

    Raises:
        Refusal: ids or a mask of another shape, padding elsewhere than on the left, a prompt without a picture, or placeholders that are
            not whole pictures.
    """
    if not isinstance(ids, Tensor) or ids.dim() != 2 or not ids.numel():
        raise refusal("input_ids", _shape(ids), "a tensor [prompts, tokens] that is not empty", "Give those of the processor.")
    if mask is not None and (not isinstance(mask, Tensor) or mask.shape != ids.shape):
        accepted = f"a tensor {list(ids.shape)}, as input_ids, with 0 for padding"
        raise refusal("attention_mask", _shape(mask), accepted, "Give that of the processor, or leave it out for a prompt without padding.")
    # The host waits for the device once. Whatever is neither 0 nor 1 in the mask comes as 2, since a fraction would be rounded to 0.
    given = ids if mask is None else torch.stack([ids, torch.where((mask == 0) | (mask == 1), mask, 2).to(ids)])
    ids, mask = (given.cpu(), torch.ones_like(ids, device="cpu")) if mask is None else given.cpu().unbind()
    if bool((mask > 1).any()):
        raise Refusal(
            "attention_mask holds other values than 0 and 1; accepted: 0 for padding and 1 for every other token. "
            "Give that of the processor."
        )
    if bool((mask[:, 1:] < mask[:, :-1]).any()):
        raise Refusal(
            "A prompt is padded on the right or inside; `aim.reduce` takes padding on the left, as `generate` does. "
            'Set `padding_side="left"` on the processor\'s tokenizer.'
        )
    kinds = {"image": (family.image_token(config), family.images), "video": (family.video_token(config), family.videos)}
    readers = {kind: read(config, inputs) for kind, (_, read) in kinds.items() if read is not None}
    seen = dict.fromkeys(kinds, 0)
    prompts = []
    for row, shown in zip(ids, mask, strict=True):
        padding = int((shown == 0).sum())
        tokens = row[padding:]
        blocks: list[Block] = []
        tower_tokens: list[tuple[str, int, int]] = []
        end = 0
        for kind, start, placeholders in _runs(tokens, {token: kind for kind, (token, _) in kinds.items() if token is not None}):
            end = start + placeholders
            while start < end:
                picture = _read(readers[kind], kind, end - start, len(tokens) - end, family)
                for grid, places in zip(picture.grids, picture.places, strict=True):
                    _append(blocks, tower_tokens, kind, seen[kind], grid, places + start)
                    seen[kind] += grid.tokens
                start += picture.length
        if not blocks:
            raise Refusal(
                "The prompt of this forward holds no picture, so there is nothing to reduce. Add one, give the prompt in one forward where "
                "`prefill_chunk_size` splits it, leave out `guidance_scale`, which runs the model on words alone as well, or run the model "
                "without `aim.reduce`."
            )
        is_text = torch.ones(len(tokens), dtype=torch.bool)
        for block in blocks:
            is_text.index_fill_(0, block.places, False)  # to assign by index costs milliseconds on several threads
        text = is_text.nonzero().flatten()
        prompts.append(Prompt(padding, len(tokens), tuple(blocks), text, text >= end, tuple(tower_tokens)))
    return prompts


def _shape(given: object) -> object:
    return f"{type(given).__name__} {list(given.shape)}" if isinstance(given, Tensor) else given


def _read(reader: Reader, kind: str, placeholders: int, behind: int, family: Family) -> Picture:
    """The next picture of a run that still holds `placeholders` placeholders and has `behind` tokens after it."""
    try:
        picture = reader(placeholders)
        if picture.length > placeholders:
            raise Refusal(
                f"The prompt holds {placeholders} {kind} placeholders where one {kind} of {family.title} takes {picture.length}. "
                "Give as many as its processor makes."
            )
    except Refusal as error:
        if behind:
            raise
        raise Refusal(
            f"The prompt of this forward ends with {placeholders} {kind} placeholders that are no whole {kind}; inside `aim.reduce` the "
            "whole prompt comes in one forward. Leave `prefill_chunk_size` out, and give as many placeholders as the processor makes."
        ) from error
    return picture


def _runs(tokens: Tensor, kinds: dict[int, str]) -> Iterator[tuple[str, int, int]]:
    """The longest runs of equal placeholders, as (kind, start, length)."""
    values, lengths = torch.unique_consecutive(tokens, return_counts=True)
    start = 0
    for value, length in zip(values.tolist(), lengths.tolist(), strict=True):
        if value in kinds:
            yield kinds[value], start, length
        start += length


def _append(blocks: list[Block], tower_tokens: list[tuple[str, int, int]], kind: str, first: int, grid: Grid, places: Tensor) -> None:
    """Add a block, or more frames to the last one where its kind and the size of its frames are the same."""
    span = (kind, first, first + grid.tokens)
    if blocks and tower_tokens[-1][0] == kind and (blocks[-1].grid.rows, blocks[-1].grid.columns) == (grid.rows, grid.columns):
        longer = Grid(blocks[-1].grid.frames + grid.frames, grid.rows, grid.columns)
        blocks[-1] = Block(longer, torch.cat([blocks[-1].places, places]))
        tower_tokens[-1] = (kind, tower_tokens[-1][1], span[2])
        return
    blocks.append(Block(grid, places))
    tower_tokens.append(span)
