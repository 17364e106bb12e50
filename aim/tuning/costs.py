"""What settings cost on one clip and question, and which of them a budget leaves."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from aim.kernels.bounds import Bounds, refusal
from aim.kernels.refusal import Refusal
from aim.methods import Method
from aim.methods.tower import Tower
from aim.planning.plan import Plan, plan_for
from aim.runtime.vlm import VLM
from aim.tuning.budget import Budget
from aim.tuning.candidates import PLACES, Candidate, Space
from aim.tuning.fidelity import Measured
from aim.tuning.outcome import Tried, Tuned, label_of
from aim.video.clip import Clip, clip_from_frames


class Costs:
    """What settings cost on one question, behind a vision tower that `tower` reduces. `clips` has the clip by its number of frames."""

    def __init__(self, vlm: VLM, question: str, clips: dict[int, Clip], tower: Tower | None = None):
        self.vlm, self.tower = vlm, tower
        self.grids = {count: vlm.grid_of(clip) for count, clip in clips.items()}
        self.lengths = {count: len(vlm.prompt_ids(question, grid, clips[count].timestamps.tolist())) for count, grid in self.grids.items()}

    def plan(self, method: Method, frames: int, full_tower: bool = False) -> Plan:
        """The modelled cost of a method on so many frames, with the model's own bytes per value. `full_tower` is of the reference."""
        grid, tower = self.grids[frames], None if full_tower else self.tower
        return plan_for(self.vlm.model.config, frames, self.lengths[frames] - grid.tokens, method, self.vlm.dtype.itemsize, grid, tower)

    def space(self, budget: Budget, limit: float, most_tflops: float = inf) -> Space:
        """The settings within the limit, in the budget's unit, and within so many TFLOP."""

        def fits(candidate: Candidate) -> bool:
            plan = self.plan(candidate.method, candidate.frames)
            return budget.cost(plan) <= limit and plan.prefill_tflops <= most_tflops

        per_frame = next(iter(self.grids.values())).tokens_per_frame
        return Space(fits, self.vlm.num_layers, per_frame, tuple(self.grids), places_of(self.vlm), self.vlm.ramp)

    def check_possible(self, space: Space, budget: Budget, limit: float) -> None:
        """Check that a budget leaves any setting.

        Raises:
            Refusal: no setting at all is within it.
        """
        cheapest = space.cheapest()
        if not space.fits(cheapest):
            least = budget.cost(self.plan(cheapest.method, cheapest.frames))
            raise Refusal(
                f"The budget is {limit:.4g} {budget.unit}; the cheapest setting on {cheapest.frames} frames takes {least:.4g}. "
                "Allow at least that much, or use fewer frames."
            )

    def tried(self, method: Method, frames: int, measured: Measured, tuned: Tuned, full_tower: bool = False) -> Tried:
        """What was measured, with what it costs and whether that is within the budget."""
        method, account = self.vlm.fit(method), self.plan(method, frames, full_tower).to_dict()
        del account["tokens_per_layer"]
        within = tuned.budget.cost(account) <= tuned.limit
        if tuned.budget.kind == "ms":
            within = within and 1000 * measured.seconds <= tuned.limit
        rejected, label = measured.divergence is None, label_of(method, frames)
        return Tried(method, frames, account, within, measured.divergence, measured.first, measured.seconds, rejected, label)


def places_of(vlm: VLM) -> tuple[str, ...]:
    """The values of `positions` that differ for a model: with several position axes (M-RoPE) tokens always keep their own."""
    text = vlm.model.config.text_config
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    return PLACES[:1] if "mrope_section" in rope else PLACES


def clips_of(clip: Clip, frames: Sequence[int] | None) -> dict[int, Clip]:
    """The clip with fewer frames too: by number of frames, the clip itself first.

    Raises:
        Refusal: no list, an empty one, or a number below 1 or above the clip's own.
    """
    own = len(clip.frames)
    allowed, advice = Bounds(1, own, whole=True), "Give a list with one number or more, or leave it out for all of the clip's frames."
    if frames is None:
        return {own: clip}
    if not isinstance(frames, (list, tuple, range)) or not frames:
        raise refusal("frames", frames, f"a list, each {allowed}", advice)
    for count in frames:
        allowed.check("an entry of frames", count, f"The clip has {own} frames.")
    clips = {own: clip}
    for count in frames:
        if count not in clips:
            chosen = (np.arange(count) + 0.5) * own // count
            clips[count] = clip_from_frames(clip.frames[chosen.astype(int)], count / clip.duration)
    return clips
