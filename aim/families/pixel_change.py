"""How much the pixels of each visual token differ from those of the token at its place in the frame before.

Pixels are the values that the model takes, so the frames are resized and normalised. Families lay them out in four ways. `PixelLayout`
says how, and the change of a clip follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from aim.kernels.grid import Grid

if TYPE_CHECKING:
    from aim.families.base import Encoded, Family

STEPS = 255  # a change is told in steps of a colour channel of 8 bits


class Change(Protocol):
    """What is known of the pixels of all pictures of one kind."""

    def of(self, total: int, first: int, last: int, grid: Grid) -> Tensor | None:
        """That of the tokens `first`...`last` - 1 of the `total` that the prompts hold, float32 [F - 1, T]; None where it is not known."""


@dataclass(frozen=True)
class PixelLayout:
    """How pixel values hold the pixels of visual tokens.

    Attributes:
        units: pixel values, as the model takes them → [units, ...] in the order of the tokens. Each unit holds equally many tokens, or each
            token equally many units.
        means: (config, absolute differences of units of F - 1 frames [F - 1, units of a frame, ...], grid) → their means [F - 1, T].
    """

    units: Callable[[Tensor], Tensor]
    means: Callable[[Any, Tensor, Grid], Tensor]


def _units(pixels: Tensor) -> Tensor:
    return pixels if pixels.dim() == 2 else pixels.flatten(0, -4)


def _means(_config: Any, differences: Tensor, grid: Grid) -> Tensor:
    if differences.dim() == 3:
        return differences.reshape(len(differences), grid.tokens_per_frame, -1).mean(-1)
    return adaptive_avg_pool2d(differences[:, 0].mean(1), (grid.rows, grid.columns)).flatten(1)


# Patches [P, values], those of a token together, or frames [..., 3, height, width]. Where the sides of a frame do not divide by its rows
# and columns of tokens, as in towers whose patches are pooled with overlaps, neighbours share a line of pixels.
PATCHES_OR_FRAMES = PixelLayout(_units, _means)


@dataclass(frozen=True)
class KnownChange:
    """The change of one clip, float32 [F - 1, T], which was computed when the clip was encoded."""

    change: Tensor

    def of(self, total: int, first: int, last: int, grid: Grid) -> Tensor | None:
        whole = (first, last) == (0, total) and self.change.shape == (grid.frames - 1, grid.tokens_per_frame)
        return self.change if whole else None


@dataclass(frozen=True)
class GivenPixels:
    """The pixel values that a forward or `generate` was given. `made` is how many tokens the tower made of them; None if it has not run."""

    family: Family
    config: Any
    pixels: Tensor
    made: int | None = None

    def of(self, total: int, first: int, last: int, grid: Grid) -> Tensor | None:
        """See `Change.of`. Prompts that hold more tokens than the tower made are beams, which share a clip."""
        layout = self.family.pixel_layout
        units = layout.units(self.pixels)
        known = self.made is None or total <= self.made
        begin, end = first * len(units), last * len(units)
        if not known or begin % total or end % total or (end - begin) // total % grid.frames:
            return None
        frames = units[begin // total : end // total].float().unflatten(0, (grid.frames, -1))
        return layout.means(self.config, (frames[1:] - frames[:-1]).abs_(), grid) * STEPS


def note_change(family: Family, config: Any, pixels: dict[str, Tensor], encoded: Encoded) -> None:
    """Let a clip's features tell how its pixels change. `pixels` are those that it was encoded of."""
    grid = encoded.grid
    values = next(value for name, value in pixels.items() if "pixel" in name)
    change = GivenPixels(family, config, values).of(grid.tokens, 0, grid.tokens, grid) if grid.frames > 1 else None
    for made in encoded.features.values():
        made.pixel_change = None if change is None else KnownChange(change)


def tells_change(encoded: Encoded) -> bool:
    """Whether features tell how the clip's pixels change."""
    return all(hasattr(made, "pixel_change") for made in encoded.features.values())


def _tokens_in(output: Any) -> Any:
    """The features of a model's pictures, or None. Where they come in levels, by LLM layer, those of one level."""
    tokens = getattr(output, "pooler_output", None)
    levels = getattr(output, "deepstack_features", None)
    return levels[0][1] if tokens is None and levels else tokens


@contextmanager
def keeping_pixels(core: nn.Module, family: Family, config: Any, names: dict[str, str]) -> Iterator[None]:
    """A block in which what a model makes of pixels holds on to them. `generate` encodes them before the forward, and drops them.

    Args:
        core: the model without its head, which has `get_image_features` or `get_video_features`.
        names: by kind of picture, the argument that takes its pixels.
    """
    before = {name: core.__dict__.get(name) for name in map("get_{}_features".format, names) if hasattr(core, name)}

    def keeping(encode: Callable, name: str) -> Callable:
        @wraps(encode)  # `generate` reads its arguments
        def keep(*args: Any, **kwargs: Any) -> Any:
            output = encode(*args, **kwargs)
            pixels = args[0] if args else kwargs.get(name)
            tokens = _tokens_in(output)
            if isinstance(pixels, Tensor) and tokens is not None:
                made = sum(part.shape[:-1].numel() for part in tokens)
                output.pixel_change = GivenPixels(family, config, pixels, made)
            return output

        return keep

    for kind, name in names.items():
        if (encoder := f"get_{kind}_features") in before:
            setattr(core, encoder, keeping(getattr(core, encoder), name))
    try:
        yield
    finally:
        for encoder, own in before.items():
            if own is None:
                delattr(core, encoder)
            else:
                setattr(core, encoder, own)
