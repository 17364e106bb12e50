"""A prompt of a given size, whose visual tokens are random numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from aim.engine import seams
from aim.engine.prompt import read_prompts
from aim.families import Family, family_of
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal

HEIGHT, WIDTH = 360, 640
WORD = 100


@dataclass(frozen=True)
class Workload:
    """A prompt for one model, batch 1: what goes into `generate`, the clip's grid, and the number of tokens that are no patches."""

    inputs: dict[str, Any]
    grid: Grid
    text_tokens: int


def workload(model: PreTrainedModel, pictures: dict, frames: int, text_tokens: int, height: int = HEIGHT, width: int = WIDTH) -> Workload:
    """A clip of `frames` frames of width x height pixels between words, with `text_tokens` tokens beside its patches.

    `pictures` are the model's picture settings.

    Raises:
        Refusal: too few text tokens for what the family puts around a clip.
    """
    config, family = model.config, family_of(model.config)
    grid = family.grid(config, pictures, frames, height, width)
    token = family.video_token(config)
    token = family.image_token(config) if token is None else token
    clip = [number for part in family.prompt(grid, ()) for number in ([WORD] if isinstance(part, str) else [token] * part)]
    if not family.token_types and getattr(config, "vision_start_token_id", None):
        clip = [config.vision_start_token_id, *clip]  # by which the model finds the clip, to give it its positions
    words = text_tokens - (len(clip) - grid.tokens)
    if words < 2:
        least = text_tokens - words + 2
        raise Refusal(f"text_tokens is {text_tokens}; with what stands around a clip a prompt has at least {least}. Use that or more.")
    ids = torch.tensor([[WORD] * (words // 2) + clip + [WORD] * (words - words // 2)], device=model.device)
    sizes = {
        name: value for name, value in pixels_of(model, pictures, frames, height, width).items() if not name.startswith("pixel_values")
    }
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **{name: value.to(model.device) for name, value in sizes.items()}}
    if family.timing is not None:
        inputs |= {name: value.to(model.device) for name, value in family.timing(1.0).items()}
    inputs |= family.told_types(config, ids)
    return Workload(inputs, grid, text_tokens)


def pixels_of(model: PreTrainedModel, pictures: dict, frames: int, height: int = HEIGHT, width: int = WIDTH) -> dict[str, Tensor]:
    """Black frames of width x height pixels as the vision tower takes them."""
    family: Family = family_of(model.config)
    return family.pixel_values(model.config, np.zeros((frames, height, width, 3), np.uint8), pictures)


@contextmanager
def visual_tokens(model: PreTrainedModel, work: Workload) -> Iterator[None]:
    """Put random numbers in place of the vision tower's output, before anything is reduced, in every prefill while the block lasts.

    Where the tower's output tells how large its pictures are, the prefill is told so itself.
    """
    parts, family = seams.parts_of(model), family_of(model.config)
    taken = inspect.signature(type(parts.core).forward).parameters if family.keeping_sizes is not None else ()
    sizes = {name: value for name, value in work.inputs.items() if name in taken and name not in (seams.IDS, seams.MASK)}
    ids = work.inputs["input_ids"]
    [prompt] = read_prompts(ids, None, work.inputs, model.config, family)
    places = torch.cat([block.places for block in prompt.blocks]).to(ids.device)
    table = next(model.get_input_embeddings().parameters())
    generator = torch.Generator(table.device).manual_seed(0)
    tokens = torch.randn(len(places), table.shape[1], generator=generator, device=table.device).mul_(0.1).to(table.dtype)

    def fill(_module: nn.Module, args: tuple, kwargs: dict):
        if kwargs[seams.EMBEDDINGS].shape[1] > 1:
            kwargs[seams.EMBEDDINGS].index_copy_(1, places, tokens[None])
        return args, kwargs

    def tell(module: nn.Module, args: tuple, kwargs: dict):
        return args, kwargs | sizes if seams.named(module, args, kwargs)[seams.IDS].shape[1] > 1 else kwargs

    hooks = [
        parts.core.register_forward_pre_hook(tell, with_kwargs=True),
        parts.language_model.register_forward_pre_hook(fill, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
