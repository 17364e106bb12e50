"""A video or a picture, whichever the file is."""

from __future__ import annotations

import threading
from pathlib import Path

from aim.video.clip import Clip, check_num_frames, read_video
from aim.video.image import read_image
from aim.video.intake.header import begins_as_image


def read_media(path: str | Path, num_frames: int = 32, *, stop: threading.Event | None = None) -> Clip:
    """Read a video with `read_video` or a picture with `read_image`, by the file's first bytes. An animated GIF is a video.

    Args:
        path: a file that one of the two takes.
        num_frames: of a video, 1...`MAX_FRAMES_READ`; a picture has one, whatever is asked for within that range.
        stop: setting it ends the reading within a fraction of a second.

    Raises:
        Refusal, ImportError: as the two do.
    """
    check_num_frames(num_frames)
    return read_image(path, stop=stop) if is_image(path) else read_video(path, num_frames, stop=stop)


def is_image(path: str | Path) -> bool:
    """Whether a file begins as a picture does, also as one that `read_image` then refuses. False for what cannot be opened."""
    try:
        with Path(path).open("rb") as stream:
            return begins_as_image(stream.read(64))
    except (OSError, ValueError, TypeError):
        return False
