"""The methods, one file each, and the table that names them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from aim.methods.base import Method
from aim.methods.knob import documented

if TYPE_CHECKING:  # a type checker does not see the classes of the table, and other rooms build these two
    from aim.methods.aim import AIM as AIM
    from aim.methods.full import Full as Full

# The table: each method's class and the file it is in. A new method is one file and one line here, see "Add a method" in README.md.
_FILES = {
    "AIM": "aim",
    "Full": "full",
    "FastV": "fastv",
    "PyramidDrop": "pyramid_drop",
    "VTW": "vtw",
    "SparseVLM": "sparsevlm",
    "DART": "dart",
    "FrameFusion": "framefusion",
    "ToMe": "tome",
    "PruMerge": "prumerge",
    "VisionZip": "visionzip",
    "FastVID": "fastvid",
    "FlashVID": "flashvid",
    "HoliTom": "holitom",
    "EVS": "evs",
    "DiffFP": "difffp",
    "VidCom2": "vidcom2",
    "DivPrune": "divprune",
    "CDPruner": "cdpruner",
    "Pool": "pool",
    "FewerFrames": "fewer_frames",
    "Random": "random_drop",
    "Mask": "mask",
}

_CLASSES: dict[str, type[Method]] = {name: getattr(import_module(f"aim.methods.{file}"), name) for name, file in _FILES.items()}
METHODS: dict[str, type[Method]] = {method.name: method for method in _CLASSES.values()}
COMPARABLE: dict[str, type[Method]] = {name: method for name, method in METHODS.items() if method.comparable}
for _method in _CLASSES.values():
    _method.__doc__ = documented(_method)  # their knobs, for help(aim.AIM)

__all__ = ["COMPARABLE", "METHODS", "Method", *_CLASSES]


def __getattr__(name: str) -> type[Method]:
    if name not in _CLASSES:
        raise AttributeError(f"module 'aim.methods' has no attribute {name!r}")
    return _CLASSES[name]
