"""A video file → upright RGB frames and their times. Callers use `clip`; `intake` reads files that may be hostile."""

from __future__ import annotations

from importlib import import_module

__all__ = ["Clip", "clip_from_frames", "read_video"]


def __getattr__(name: str):
    # On first use, since the decoding process imports this package too and needs none of it.
    if name not in __all__:
        raise AttributeError(f"module 'aim.video' has no attribute {name!r}")
    return getattr(import_module("aim.video.clip"), name)
