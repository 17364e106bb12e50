"""A published model, as the file of its family states it, so that a plan or a benchmark needs neither weights nor the network."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig


@dataclass(frozen=True)
class Published:
    """A published model.

    A loaded checkpoint goes by its own config.json. This entry stands in for it where no checkpoint is at hand.

    Attributes:
        name: its short name, in lower case.
        hub_ids: its checkpoints on the Hub, "owner/name", all of the same shape. The app suggests the first.
        config_class: the class of its transformers config.
        parts: what its config.json says beyond the defaults of that class.
    """

    name: str
    hub_ids: tuple[str, ...]
    config_class: type[PretrainedConfig]
    parts: dict[str, Any]

    def config(self) -> PretrainedConfig:
        """Its transformers config, a new one at each call."""
        return self.config_class(**deepcopy(self.parts))

    def is_named(self, model: str) -> bool:
        """Whether `model` is its short name or one of its Hub ids, with or without the owner, in any case of letters."""
        pairs = [hub_id.lower().split("/") for hub_id in self.hub_ids]
        names = {self.name, *(checkpoint for _, checkpoint in pairs)}
        return model.lower() in names | {f"{owner}/{name}" for owner, _ in pairs for name in names}
