"""AIM Explorer: which visual tokens does a multimodal LLM really need?

`reduce` runs AIM on a stock transformers model, `load` gives a model that answers questions about clips, and `plan` tells the cost
without running anything. Names are imported on first use, so `import aim` is light.
"""

from __future__ import annotations

from importlib import import_module

from aim.kernels.versions import advice

_HOMES = {
    "AIM": "aim.methods",
    "CDPruner": "aim.methods",
    "DivPrune": "aim.methods",
    "EVS": "aim.methods",
    "DiffFP": "aim.methods",
    "Composed": "aim.methods.composed",
    "DART": "aim.methods",
    "SparseVLM": "aim.methods",
    "FrameFusion": "aim.methods",
    "FastV": "aim.methods",
    "FewerFrames": "aim.methods",
    "FlashVID": "aim.methods",
    "FastVID": "aim.methods",
    "Full": "aim.methods",
    "HoliTom": "aim.methods",
    "Mask": "aim.methods",
    "Pool": "aim.methods",
    "PruMerge": "aim.methods",
    "PyramidDrop": "aim.methods",
    "Random": "aim.methods",
    "ToMe": "aim.methods",
    "VTW": "aim.methods",
    "VidCom2": "aim.methods",
    "VisionZip": "aim.methods",
    "METHODS": "aim.methods",
    "Tower": "aim.methods.tower",
    "match": "aim.planning.match",
    "tune": "aim.tuning.search",
    "Budget": "aim.tuning.budget",
    "Region": "aim.families.regions",
    "places_in": "aim.families.regions",
    "reduce": "aim.engine.reduce",
    "Trace": "aim.kernels.trace",
    "plan": "aim.planning.plan",
    "Clip": "aim.video.clip",
    "clip_from_frames": "aim.video.clip",
    "read_video": "aim.video.clip",
    "read_media": "aim.video.media",
    "read_image": "aim.video.image",
    "image_from_pixels": "aim.video.image",
    "load": "aim.runtime.vlm",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'aim' has no attribute {name!r}")
    try:
        home = import_module(_HOMES[name])
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "transformers":
            raise
        raise ImportError(f"aim.{name} cannot be imported. {advice()}", name="transformers") from error
    return getattr(home, name)
