"""A video or picture file → upright RGB frames and their times. `intake` reads files that may be hostile."""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "Clip": "clip",
    "clip_from_frames": "clip",
    "read_media": "media",
    "read_video": "clip",
    "image_from_pixels": "image",
    "read_image": "image",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    # On first use, since the decoding process imports this package too and needs none of it.
    if name not in _HOMES:
        raise AttributeError(f"module 'aim.video' has no attribute {name!r}")
    return getattr(import_module(f"aim.video.{_HOMES[name]}"), name)
