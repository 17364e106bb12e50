"""The vision features of clips. They are made once, kept by the clip's content, and bounded in bytes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aim.families import Encoded, Family
from aim.families.batches import watching
from aim.families.pixel_change import note_change, tells_change
from aim.methods.tower import Tower
from aim.runtime.byte_sizes import MIB
from aim.runtime.checkpoints import Checkpoint
from aim.runtime.faults import within_memory
from aim.runtime.gpus import gpus_of, running_on, wait_for
from aim.video.clip import Clip

FEATURES_MEMORY, VARIABLE = 512 * MIB, "AIM_FEATURES_MEMORY"


class Features:
    """The vision features of the clips that a model was asked about last. Whoever uses them holds the model's lock.

    They are kept by the clip's content and by how the vision tower was reduced, so that nobody reaches the features of a clip that they do
    not have. Those of the last clip are kept whatever their size, because a job asks about its clip many times.

    Attributes:
        limit: the most bytes to be kept, on the model's device. Only the last clip's features alone may take more.
        bytes: how many are kept now.
        watched: whether what the vision tower attends to is recorded with new features. It is from the first method on that reads it, so
            that a clip which is asked about under several methods is encoded once.
    """

    def __init__(self, checkpoint: Checkpoint, limit: int):
        self.checkpoint, self.limit = checkpoint, limit
        self.watched = False
        self._kept: OrderedDict[tuple[str, Tower | None], tuple[Encoded, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        return sum(size for _, size in list(self._kept.values()))

    def clear(self) -> None:
        """Drop all features."""
        self._kept.clear()

    def encode(self, frames: np.ndarray, tower: Tower | None = None, compared: bool = False) -> Encoded:
        """Run the vision tower, reduced as `tower` says, on frames, uint8 [F, H, W, 3]. Nothing is kept.

        With `compared` the features tell how pixels change from frame to frame.

        Raises:
            Refusal: the family does not take frames of this shape, or its tower cannot be reduced.
        """
        family, model = self.checkpoint.family, self.checkpoint.model
        with torch.inference_mode(), running_on(model.device), family.reducing(model, tower, self.checkpoint.pictures) as lengths:
            pixels = family.pixel_values(model.config, frames, self.checkpoint.pictures)
            encoded = family.encode(model, pixels)
            if compared:
                note_change(family, model.config, pixels, encoded)
            return replace(encoded, tower_lengths=tuple(lengths))

    def of(self, clip: Clip, tower: Tower | None = None, watched: bool = False, compared: bool = False) -> tuple[Encoded, dict[str, float]]:
        """(the clip's features, the seconds spent on them by stage). The seconds are empty where the features were kept.

        `tower` has every setting filled in (`LoadedModel.fit_tower`). With `watched` they tell what the tower attended to, and kept ones
        that do not are made again. With `compared` they also tell how pixels change from frame to frame.

        Raises:
            Refusal: the family does not take frames of this shape, or no pictures.
            aim.runtime.faults.NotEnoughMemory: a Refusal; the vision tower does not fit into memory here.
        """
        key, self.watched = (clip.digest, tower), self.watched or watched
        checkpoint = self.checkpoint.taking(clip.is_image)
        family, model = checkpoint.family, checkpoint.model
        if (kept := self._kept.pop(key, None)) is not None and (not watched or tells_attention(kept[0])):
            self._kept[key] = kept  # it is the last one now
            if compared and not tells_change(kept[0]):
                note_change(family, model.config, family.pixel_values(model.config, clip.frames, checkpoint.pictures), kept[0])
            return kept[0], {}
        timings = {"decode_video": clip.decode_seconds}
        start = time.perf_counter()
        pixels = family.pixel_values(model.config, clip.frames, checkpoint.pictures)
        timings["preprocess"] = time.perf_counter() - start
        start = time.perf_counter()
        with (
            within_memory(f"{len(clip.frames)} frames in the vision tower", self.clear, smaller_tower(family, tower)),
            torch.inference_mode(),
            running_on(model.device),
            watching(self.watched),
            family.reducing(model, tower, checkpoint.pictures) as lengths,
        ):
            encoded = replace(family.encode(model, pixels), tower_lengths=tuple(lengths))
        if compared:
            note_change(family, model.config, pixels, encoded)
        timing = {} if family.timing is None else family.timing(clip.duration / len(clip.frames))
        grid = replace(encoded.grid, is_image=clip.is_image)
        encoded = replace(encoded, grid=grid, inputs=encoded.inputs | timing, times=clip.timestamps.tolist())
        wait_for(gpus_of(model))
        timings["vision_tower"] = time.perf_counter() - start
        self._keep(key, encoded)
        return encoded, timings

    def _keep(self, key: tuple[str, Tower | None], encoded: Encoded) -> None:
        self._kept[key] = (encoded, size_of(encoded))
        while len(self._kept) > 1 and self.bytes > self.limit:
            self._kept.popitem(last=False)


def smaller_tower(family: Family, tower: Tower | None) -> str:
    """What to do where a vision tower, reduced as `tower` says, runs out of memory."""
    if family.tower_layers is None:
        return "Use fewer frames."
    smaller = "merge patches inside the tower" if tower is None or tower.merge == 1 else "merge more of the tower's patches"
    return f"Use fewer frames, or {smaller}: tower=aim.Tower(merge=0.2), or --tower-merge 0.2 on the command line."


def tells_attention(encoded: Encoded) -> bool:
    """Whether features tell what the vision tower attended to."""
    return any(getattr(made, "attentions", None) for made in encoded.features.values())


def size_of(value: Any) -> int:
    """How many bytes the tensors inside lists, tuples, dictionaries and dataclasses keep alive. Shared memory counts once."""
    storages = {storage.data_ptr(): storage.nbytes() for storage in (tensor.untyped_storage() for tensor in _tensors(value))}
    return sum(storages.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    if is_dataclass(value) and not isinstance(value, dict):  # transformers' outputs are both
        value = [getattr(value, item.name) for item in fields(value)]
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from _tensors(part)
