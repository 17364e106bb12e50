"""Mask: the visitor's own choice of visual tokens. It asks the question again without them, or with only them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aim.kernels.bounds import FROM_0
from aim.kernels.dropping import kept_alone
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.knob import knob

WITHOUT, ONLY = "without", "only"


@dataclass(frozen=True)
class Mask(Method):
    """Removes chosen visual tokens before the LLM, and changes nothing else. It is a counterfactual, not a method of a paper.

    A token is chosen by its place, frame · tokens of a frame + token, or with its whole frame. The tokens that stay keep their positions,
    so the answer is the one that the LLM gives where no token may attend to a removed one. A layer of linear attention, which Qwen3.5 has,
    knows no such mask. It never meets the removed tokens, and the others follow one another in it as in a shorter prompt (see
    `aim.engine.prefill`). The vision tower has seen the whole clip all the same: what is removed may have left traces in the tokens around
    it.

    Frames and tokens are those of the model's grid, as `Trace.assignment` has them: Qwen's models join two frames into one, and
    LLaVA-OneVision pools 2 x 2 patches. `aim.places_in` finds the places of regions in pixels and of moments in seconds. In a prompt with
    pictures of several sizes, each size is a grid of its own, and all grids are masked alike.
    """

    mask_places: tuple[int, ...] | None = knob(
        None,
        "Masked places",
        "Places of the chosen visual tokens, frame · tokens of a frame + token, for example 3,4,52.",
        bounds=FROM_0,
        unset="none",
        advice="Places count from 0, frame by frame.",
        advanced=False,
    )
    mask_frames: tuple[int, ...] | None = knob(
        None,
        "Masked frames",
        "Frames whose visual tokens are all chosen, for example 0,1.",
        bounds=FROM_0,
        unset="none",
        advice="Frames count from 0.",
        advanced=False,
    )
    mask_mode: str = knob(
        WITHOUT,
        "Ask",
        "Whether the model is asked without the chosen tokens, or with only them.",
        choices=(("without these", WITHOUT), ("with only these", ONLY)),
        advice="The default is without.",
        advanced=False,
    )

    name = "mask"
    comparable = False

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        frames, per_frame, _ = patches.shape
        stay = self._staying(frames, per_frame)
        if len(stay) == frames * per_frame:
            return None
        return kept_alone(patches, torch.tensor(stay).to(patches.device, non_blocking=True))

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return len(self._staying(frames, tokens_per_frame))

    def _staying(self, frames: int, per_frame: int) -> list[int]:
        """The places of the tokens that stay, ascending.

        Raises:
            Refusal: a place or frame is not in the clip, or no token would stay.
        """
        places, whole, total = self.mask_places or (), self.mask_frames or (), frames * per_frame
        for name, given, count, one in (("mask_places", places, total, "visual tokens"), ("mask_frames", whole, frames, "frames")):
            beyond = [number for number in given if number >= count]
            if beyond:
                raise Refusal(
                    f"{name} holds {beyond[0]}; the model has {count} {one} of this clip, numbered 0 to {count - 1}. "
                    "Choose among these, or take more frames."
                )
        chosen = {int(place) for place in places}
        for frame in whole:
            chosen.update(range(int(frame) * per_frame, (int(frame) + 1) * per_frame))
        stay = sorted(chosen) if self.mask_mode == ONLY else sorted(set(range(total)) - chosen)
        if not stay:
            wrong = "nothing is chosen" if self.mask_mode == ONLY else f"all {total} visual tokens are chosen"
            raise Refusal(f"The mask leaves no visual token, because {wrong}; at least one must stay. Choose another region.")
        return stay
