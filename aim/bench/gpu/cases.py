"""What is checked for being right: every method, and every family, on tiny models whose whole way from pixels to words is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from aim.bench.footage import Footage
from aim.bench.tiny import TINY_MODELS, TINY_PICTURES
from aim.bench.workload import workload
from aim.families import FAMILIES, family_of
from aim.methods import METHODS, Method
from aim.methods.aim import AIM

FRAMES, TEXT_TOKENS, SIDE, NEW_TOKENS = 3, 60, 40, 4
FIRST = "llava_onevision"
Case = tuple[PreTrainedModel, dict[str, Any]]  # a model, and the inputs of a prompt for it


def settings() -> dict[str, Method]:
    """Every method by its name. AIM merges to a half and drops, in as few layers as the tiny models have."""
    return {name: kind() for name, kind in METHODS.items()} | {"aim": AIM(merge_ratio=0.5, l1=2, l2=5)}


def groups(small: bool) -> Iterator[tuple[str, dict[str, Method]]]:
    """(family, methods): every method on one family, then AIM on every other; unless `small` also every other pair."""
    methods = settings()
    yield FIRST, methods
    others = [kind for kind in TINY_MODELS if kind != FIRST]
    for kind in others:
        yield kind, {"aim": methods["aim"]}
    if not small:
        for kind in others:
            yield kind, {name: method for name, method in methods.items() if name != "aim"}


def case(kind: str, device: torch.device, dtype: torch.dtype) -> Case:
    """The tiny model of a family, and a prompt with frames of noise. The same on every device, but for rounding to `dtype`."""
    model = TINY_MODELS[kind](vocab_size=120)
    family, pictures = family_of(model.config), FAMILIES[kind].picture_settings | TINY_PICTURES[kind]
    frames = Footage(pictures, FRAMES, height=SIDE, width=SIDE).example
    inputs = workload(model, pictures, FRAMES, TEXT_TOKENS, SIDE, SIDE).inputs | family.pixel_values(model.config, frames, pictures)
    moved = {name: value.to(device, dtype if value.is_floating_point() else None) for name, value in inputs.items()}
    model.to(device=device, dtype=dtype)  # type: ignore[call-arg]  # transformers' own wrapper hides torch's arguments
    return model, moved


def said(model: PreTrainedModel, inputs: dict[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """(the words, the logits of each) of a short greedy answer."""
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with torch.inference_mode():
        output = model.generate(**inputs, **options)  # type: ignore[operator]  # as in aim.bench.measure
    return output.sequences, output.logits
