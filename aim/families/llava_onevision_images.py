"""Where the visual tokens of LLaVA-OneVision's images are. An image that is alone in its prompt has those of its tiles as well."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution

from aim.families.base import Picture, Reader, plain_picture
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal


def tower_side(config) -> int:
    """Patches along a side of the tower's square input."""
    return config.vision_config.image_size // config.vision_config.patch_size


def images(config, inputs: dict) -> Reader:
    made = (inputs.get("mm_encoder_outputs") or {}).get("image")
    pictures: Iterator[Picture]
    if made is not None:
        pictures = (featured_picture(tower_side(config), of_one) for of_one in made.pooler_output)
    else:
        pictures = _sized_pictures(config, inputs.get("image_sizes"), inputs.get("batch_num_images"))

    def read(_placeholders: int) -> Picture:
        picture = next(pictures, None)
        if picture is None:
            raise Refusal("The prompt holds more images than were given. Pass the image inputs of the processor, `image_sizes` too.")
        return picture

    return read


def _sized_pictures(config, sizes: Tensor | None, counts: Tensor | None) -> Iterator[Picture]:
    """Pictures by their `image_sizes` [images, 2]. Only an image that is alone in its prompt is also shown in tiles.

    `counts` are the images of each prompt. Without them, every image is taken to be alone.
    """
    listed = [] if sizes is None else sizes.tolist()
    alone = [True] * len(listed) if counts is None else [count == 1 for count in counts.tolist() for _ in range(count)]
    for size, is_tiled in zip(listed, alone, strict=True):
        side = tower_side(config)
        yield tiled_picture(side, *tile_grid(config, side, *size)) if is_tiled else plain_picture(1, side, side, separators=1)


def featured_picture(side: int, tokens: Tensor) -> Picture:
    """A picture by its features [length, C], as `generate` does not pass the sizes on. The newline ends every row, so it comes last.

    Its whole view has `side` x `side` tokens.
    """
    base = side**2
    newlines = int((tokens[base:] == tokens[-1]).all(-1).sum())
    columns = (len(tokens) - base) // newlines - 1
    return tiled_picture(side, newlines, columns) if columns else plain_picture(1, side, side, separators=1)


def tiled_picture(base: int, rows: int, columns: int) -> Picture:
    """The whole image of base x base tokens, and then its enlarged copy of rows x columns, with a newline token behind each row."""
    whole = plain_picture(1, base, base)
    rows_start = base * base + torch.arange(rows)[:, None] * (columns + 1)
    places = (rows_start + torch.arange(columns)).flatten()
    return Picture((*whole.grids, Grid(1, rows, columns)), (*whole.places, places), base * base + rows * (columns + 1))


def tile_grid(config, side: int, height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of tokens of an image's enlarged copy, for an image of height x width pixels and tiles of side x side tokens.

    Its tiles lie side by side, without the padding that fills them up. Where they are more than about the number of tiles that
    `vision_aspect_ratio` names ("anyres_max_9" → 9), the copy is reduced.
    """
    tile = config.vision_config.image_size
    best = select_best_resolution((height, width), config.image_grid_pinpoints)
    rows, columns = (length // tile * side for length in best)
    if width / height > columns / rows:
        rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
    else:
        columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
    bound = getattr(config, "vision_aspect_ratio", None)  # LLaVA-NeXT-Video and Granite have none
    if bound is None:
        return rows, columns
    ratio = math.sqrt(rows * columns / (int(bound.removeprefix("anyres_max_")) * side**2))
    return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


def has_tiles(config, inputs: dict) -> bool:
    """Whether a forward call's inputs hold an image in tiles, if they hold any image."""
    made = (inputs.get("mm_encoder_outputs") or {}).get("image")
    if made is not None:
        return any(len(tokens) > tower_side(config) ** 2 + 1 for tokens in made.pooler_output)
    counts = inputs.get("batch_num_images")
    return counts is None or 1 in counts.tolist()
