"""For families whose prompt does not tell how large a picture is: features that say it, and a reader that hands the sizes out in order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from aim.families.base import Picture, Reader, plain_picture
from aim.kernels.refusal import Refusal

Size = tuple[int, int, int]  # steps in time, rows and columns of visual tokens


@dataclass
class SizedFeatures(BaseModelOutputWithPooling):
    """Features that say how large their pictures are.

    Attributes:
        sizes: long [pictures, n], as the family's own reader understands them.
    """

    sizes: Tensor | None = None


def sized_reader(kind: str, sizes: Iterable[Size] | None, besides: str) -> Reader:
    """A reader that gives each picture the next of the sizes, or one row of tokens where the sizes are not known.

    Args:
        kind: "image" or "video".
        besides: what the model's processor makes beside the pixels, for the refusal of a prompt with too many pictures.
    """
    left = None if sizes is None else iter(sizes)

    def next_picture(placeholders: int) -> Picture:
        if left is None:
            return plain_picture(1, 1, placeholders)
        size = next(left, None)
        if size is None:
            raise Refusal(f"The prompt holds more {kind}s than were given. Pass the {kind} inputs of the processor, {besides} too.")
        return plain_picture(*size)

    return next_picture


def repeated(sizes: list[Size], parts: list[Tensor]) -> Iterator[Size]:
    """The sizes of the pictures in each part. For beams `generate` has repeated the parts, each of which stays the same tensor."""
    left, known = iter(sizes), {}
    for part in parts:
        if id(part) not in known:
            own: list[Size] = []
            while sum(map(math.prod, own)) < len(part):
                own.append(next(left))
            known[id(part)] = own
        yield from known[id(part)]
