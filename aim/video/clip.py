"""A video file becomes a few upright RGB frames, evenly spread over its time, each with the second it appears at.

Every file may be hostile: see `aim.video.intake` for the header check, the decoding process and the limits.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aim.kernels.bounds import Bounds, Kind
from aim.kernels.refusal import Refusal
from aim.kernels.stop import STOP
from aim.video.intake.header import checked_file
from aim.video.intake.limits import LIMITS, MAX_FRAMES_READ, MIN_SIDE
from aim.video.intake.process import decode
from aim.video.intake.refusals import Refused, refuse

__all__ = ["LIMITS", "MAX_FRAMES_READ", "Clip", "clip_from_frames", "read_video"]


_RATE = Bounds(0.001, 1_000_000)  # frames a second


@dataclass(frozen=True)
class Clip:
    """Frames taken from a video, or one picture.

    Attributes:
        frames: uint8 [F, H, W, 3], upright RGB with square pixels.
        timestamps: float64 [F], the second at which each frame appears, counted from the clip's first frame; never negative, ascending.
        duration: seconds from the appearance of the first frame to the disappearance of the last.
        decode_seconds: wall time that reading took.
        digest: hexadecimal SHA-256 of frames, timestamps, duration and `is_image`, which are all that a model's answer can depend on.
            Clips are equal when their digests are. `dataclasses.replace` makes a clip with a digest of its own.
        is_image: it is a single picture, which has one frame, no duration, and goes in through the model's own image prompt.
    """

    frames: np.ndarray = field(compare=False, repr=False)
    timestamps: np.ndarray = field(compare=False)
    duration: float
    decode_seconds: float = field(compare=False)
    digest: str = field(init=False)
    is_image: bool = False

    def __post_init__(self):
        object.__setattr__(self, "digest", digest_of(self.frames, self.timestamps, self.duration, self.is_image))


CLIP = Kind(Clip, "a clip", "Make one with aim.read_video or aim.clip_from_frames.")


def read_video(path: str | Path, num_frames: int = 32, max_side: int = 640, *, stop: threading.Event | None = None) -> Clip:
    """Take `num_frames` frames at the centres of as many equal stretches of time: (i + 0.5) / num_frames · duration.

    Args:
        path: a local MP4, MOV, MKV, WebM, AVI, MPG, GIF or TS file.
        num_frames: 1...`MAX_FRAMES_READ`. A clip with fewer frames gives all it has. Where one frame is shown for several stretches
            (variable frame rate), it is returned once for each.
        max_side: the longer side, in pixels, is reduced to this while decoding, at least 16. Smaller clips keep their size.
        stop: setting it ends the reading within a fraction of a second.

    Raises:
        Refusal: arguments out of range, a file that cannot be read or is over the `LIMITS`, or `stop`. It names the file, not its folder.
        ImportError: PyAV is not installed.
    """
    check_num_frames(num_frames)
    Bounds(MIN_SIDE, whole=True).check("max_side", max_side, "It is in pixels. Set it to 640 if in doubt.")
    STOP.check("stop", stop)
    name, file, demuxer = checked_file(path)
    began = time.perf_counter()
    refused = None
    try:
        frames, timestamps, duration = decode(file, demuxer, int(num_frames), int(max_side), stop)
    except Refused as reason:
        refused = reason
    except ImportError:
        raise ImportError(
            "Reading videos needs the package av, which cannot be imported. Run `pip install av`, or decode the frames yourself and use "
            "clip_from_frames.",
            name="av",  # the page tells visitors this name, and not the sentence
        ) from None
    if refused is not None:  # outside the except block, so that the Refusal has no other exception behind it
        refuse(name, refused.reason, refused.given)
    return Clip(frames, timestamps, duration, time.perf_counter() - began)


def check_num_frames(num_frames: object) -> None:
    """Refuse a number of frames that cannot be taken from one video.

    Raises:
        Refusal: it is no whole number from 1 to `MAX_FRAMES_READ`.
    """
    Bounds(1, MAX_FRAMES_READ, whole=True).check("num_frames", num_frames, "Set it within that range.")


def clip_from_frames(frames: np.ndarray, frames_per_second: float) -> Clip:
    """A clip of frames that are already in memory, which are copied.

    Args:
        frames: uint8 [F, H, W, 3], F ≥ 1, upright RGB.
        frames_per_second: the constant rate at which they are shown, 0.001 to 1,000,000.

    Raises:
        Refusal: arguments that are anything else.
    """
    check_frames(frames)
    _RATE.check("frames_per_second", frames_per_second, "Set it to the rate of the frames.")
    frames = np.array(frames, order="C")
    timestamps = np.arange(len(frames)) / float(frames_per_second)
    duration = len(frames) / float(frames_per_second)
    return Clip(frames, timestamps, duration, 0.0)


def whole(value: object) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_frames(frames: object) -> None:
    """Refuse what is not uint8 [F, H, W, 3], F ≥ 1.

    Raises:
        Refusal: it is anything else.
    """
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        given = f"{frames.dtype} {list(frames.shape)}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise Refusal(f"frames is {given}; accepted: a NumPy array, uint8 [frames, height, width, 3], not empty. Convert it to that.")


def digest_of(frames: np.ndarray, timestamps: np.ndarray, duration: float, is_image: bool = False) -> str:
    """The digest of a clip with these values; see `Clip`."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames).data)
    digest.update(np.ascontiguousarray(timestamps).data)
    digest.update(np.float64(duration).tobytes())
    digest.update(b"image" * is_image)
    return digest.hexdigest()
