"""The published models that somebody could choose here: how much memory each one takes, and what it is good for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from aim.families import FAMILIES
from aim.families.names import BUNDLED
from aim.planning.plan import look_up, plan
from aim.runtime.fitting import granted, weights
from aim.runtime.memory import available, read_held

FRAMES = 16  # frames of the prompt whose KV cache is counted, as many as the page begins with
# Bytes of one weight of the LLM's matrices, by the quantization. The rest keeps its own number type.
QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.55}
_BUNDLED_IS_GOOD_FOR = "Trying the page. It is tiny and knows only moving coloured shapes."


@dataclass(frozen=True)
class Offer:
    """A model that somebody could choose.

    Attributes:
        name: what `aim.load` takes.
        weight_bytes: its weights in the number type that they would have here, as its published shape plans them.
        kv_bytes: the KV cache of the full model on `FRAMES` frames of 640 x 360 pixels and 100 text tokens.
        good_for: a sentence or two.
    """

    name: str
    weight_bytes: int
    kv_bytes: int
    good_for: str

    @property
    def needs(self) -> int:
        """Bytes for its weights and its KV cache."""
        return self.weight_bytes + self.kv_bytes


def offers(bytes_per_value: int, quantization: str | None = None) -> list[Offer]:
    """All published models of the supported families, one for each shape, and the bundled model. The smallest comes first.

    Args:
        bytes_per_value: of weights and KV cache, such as 2 for bfloat16.
        quantization: as in `aim.load`. Models with experts are left out where it is given, because it refuses them.
    """
    known = [Offer("bundled", (BUNDLED / "model.safetensors").stat().st_size, 0, _BUNDLED_IS_GOOD_FOR)]
    for family in FAMILIES.values():
        for published in family.published:
            model = look_up(published.name)
            if quantization is not None and model.shape.unused_size:
                continue
            whole = weights(model)
            quantized = model.shape.weights if quantization is not None else 0
            size = int((whole - quantized) * bytes_per_value + quantized * QUANTIZED_BYTES.get(quantization or "", 0))
            cache = plan(published.name, FRAMES).baseline_kv_bytes * bytes_per_value // 2  # `plan` counts 2 bytes a value
            known.append(Offer(published.hub_ids[0], size, cache, family.good_for))
    return sorted(known, key=lambda offer: offer.needs)


def room(device: torch.device) -> int | None:
    """Bytes for a model that takes the place of the present one: all that this process could hold on `device`.

    None where the system does not tell.
    """
    amounts = (available(device), granted() if device.type == "cpu" else None)
    return min((amount for amount in amounts if amount is not None), default=None)


def free(device: torch.device) -> int | None:
    """Bytes for a model beside the present one. None where the system does not tell."""
    all_of_it, held = room(device), read_held([device] if device.type == "cuda" else [])
    return None if all_of_it is None or held is None else max(0, all_of_it - held)
