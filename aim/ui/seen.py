"""What is known of a video when a plan is made: the size and number of its frames, once they were read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aim.kernels.grid import Grid


@dataclass(frozen=True)
class Seen:
    """The frames of the page's video as they were last read.

    Attributes:
        height, width: of a frame, in pixels. Before a video was read they are those of a typical one.
        most: frames the video has, where it has fewer than were asked for; None where that is not known.
        read: whether a video was read.
        is_image: whether it is a single picture.
    """

    height: int = 360
    width: int = 640
    most: int | None = None
    read: bool = False
    is_image: bool = False

    @classmethod
    def of(cls, frames: np.ndarray, asked: int, is_image: bool = False) -> Seen:
        """From frames uint8 [F, H, W, 3], of which `asked` were wanted."""
        count, height, width = frames.shape[:3]
        return cls(height, width, count if count < asked else None, read=True, is_image=is_image)

    def frames(self, asked: int) -> int:
        """How many frames a run gets where so many are asked for."""
        return asked if self.most is None else min(asked, self.most)

    def grid(self, vlm, asked: int) -> Grid:
        """The grid of visual tokens that the model makes of them, before merging."""
        return vlm.grid(self.frames(asked), self.height, self.width, **({"is_image": True} if self.is_image else {}))

    def remark(self, vlm, asked: int) -> str:
        """What a plan for these frames takes for granted, in a sentence or two. It is "" where that makes no difference."""
        size = f"frames of {self.width} × {self.height} pixels"
        told = f"Planned for this video's {size}." if self.read else f"Planned for {size}. A run tells the size of the video's own."
        depends = vlm.grid(1, 360, 640) != vlm.grid(1, 640, 360)  # many models make all frames the same size
        if self.is_image:
            return "This is one picture."
        short = f"The video has {self.most} frames." if self.frames(asked) < asked else ""
        return f"{told if depends else ''} {short}".strip()


UNSEEN = Seen()
