"""Features that were made before, given to a model in place of pixels, so that the vision tower runs once a clip.

Since transformers 5.18 a forward and `generate` take them under `seams.FEATURES`. Before, `Made` stands where the pixels are given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from aim.engine import seams


@dataclass(frozen=True)
class Made:
    """Stands where a model is given pixels, and carries the features that were made of them: one sequence for each prompt, no beams."""

    output: Any


def takes_features(model: nn.Module) -> bool:
    """Whether a model's forward and `generate` take features that were made before, under `seams.FEATURES`."""
    return seams.FEATURES in inspect.signature(type(model).forward).parameters


def feature_inputs(model: nn.Module, features: dict[str, Any]) -> dict[str, Any]:
    """The arguments by which a model takes features that were made before, by kind of picture, inside `taking_features`."""
    return {seams.FEATURES: features} if takes_features(model) else {seams.PIXELS[kind]: Made(output) for kind, output in features.items()}


def features_in(given: dict) -> dict[str, Any]:
    """The features that a forward is given, by kind of picture."""
    carried = {kind: given[name].output for kind, name in seams.PIXELS.items() if isinstance(given.get(name), Made)}
    return {**(given.get(seams.FEATURES) or {}), **carried}


@contextmanager
def taking_features(core: nn.Module) -> Iterator[None]:
    """A block in which a model of any release takes what `feature_inputs` gives. `core` is the model without its head."""
    encoders = {} if takes_features(core) else {name: getattr(core, name, None) for name in map("get_{}_features".format, seams.PIXELS)}
    replaced = {name: encode for name, encode in encoders.items() if encode is not None}

    def taking(encode: Callable) -> Callable:
        def take(*args: Any, **kwargs: Any) -> Any:
            made = next((value for value in (*args, *kwargs.values()) if isinstance(value, Made)), None)
            return encode(*args, **kwargs) if made is None else made.output

        return take

    for name, encode in replaced.items():
        setattr(core, name, taking(encode))
    try:
        yield
    finally:
        for name in replaced:
            delattr(core, name)
