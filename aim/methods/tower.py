"""How the vision tower is reduced: a setting of its own, beside the method, which says what becomes of its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from aim.kernels.bounds import Bounds, Kind
from aim.kernels.changed_patches import change_in_pixels_flops
from aim.kernels.cost import merge_flops, vision_flops
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import merged_per_frame
from aim.kernels.shape import VisionShape
from aim.methods.knob import knob, knobs_of

# (queries, keys) of each layer of a tower, of one frame.
FrameLengths = Sequence[tuple[int, float]]
# Where merging begins unless it is said, as a share of the tower's layers: before layer 6 of SigLIP's 26.
DEFAULT_DEPTH = 6 / 26
# The share of patches that is left where nothing is said at all.
DEFAULT_MERGE = 0.3


@dataclass(frozen=True)
class Tower:
    """Merge similar patches inside the vision tower, or compute only what has changed since an earlier frame, or both.

    With `merge`, before layer `layer`, the most similar patches of a frame are merged step by step, by their hidden states (ToMe, arXiv
    2210.09461). This layer and all behind it run on what is left. In their attention a merged patch counts as often as it has patches
    (proportional attention, equation 1 there). It counts once in towers that take pictures of any size as one row (Qwen2-VL and its kin),
    and under flash attention, because no mask can be given there. Each patch of the output is what the patch was before merging, plus
    what its merged patch has gained since. So whatever follows the tower finds as many patches as always.

    With `reuse`, a patch whose pixels are nearly those of the same patch as it was last computed, in an earlier frame, is not computed
    again. The frame's other patches attend to its keys and values of that earlier frame, layer by layer, and the output has its features.
    Where both are asked for, a merged patch is computed where one of its patches has changed.
    """

    merge: float | None = knob(
        None,
        "Patches kept inside the vision tower",
        "Share of a frame's patches that the vision tower's later layers run on; 1 merges nothing.",
        bounds=Bounds(0, 1, above=True),
        step=0.05,
        unset="0.3, or 1 where reuse is given",
        advice="Use 0.3, for example.",
    )
    step: float = knob(
        0.25,
        "Largest step",
        "Share of the patches that one step of merging may remove. Large steps merge patches that differ.",
        bounds=Bounds(0, 0.5, above=True),
        step=0.05,
        advice="Use 0.25, for example.",
    )
    layer: int | None = knob(
        None,
        "First reduced layer of the tower",
        "The layer of the vision tower before which patches are merged.",
        bounds=Bounds(1, whole=True),
        unset="6 of 26 layers, scaled to the tower's depth",
        advice="Leave it out to scale it to the tower.",
    )
    reuse: float | None = knob(
        None,
        "Reuse what stands still",
        "A patch is computed again only where its colours, from 0 to 1, differ by more than this on average from those that it was last "
        "computed of, in an earlier frame.",
        bounds=Bounds(0, 1),
        choices=tuple((f"up to {step} of 255", step / 255) for step in (4, 8, 16)),
        unset="every patch of every frame is computed",
        advice="Use 8/255, for example.",
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            Refusal: one is out of its range.
        """
        for name, declared in knobs_of(type(self)).items():
            value = getattr(self, name)
            declared.check(value)
            object.__setattr__(self, name, declared.cast(value))
        if self.merge is None:
            object.__setattr__(self, "merge", DEFAULT_MERGE if self.reuse is None else 1.0)

    def for_depth(self, num_layers: int) -> Tower:
        """This setting with `layer` filled in for a tower of so many layers.

        Raises:
            Refusal: the tower has no such layer.
        """
        if self.layer is None:
            return replace(self, layer=max(1, round(DEFAULT_DEPTH * num_layers)))
        if self.layer >= num_layers:
            raise Refusal(
                f"layer of the tower is {self.layer}; accepted: a whole number from 1 to {num_layers - 1}, as this tower has {num_layers} "
                "layers. Leave it out to scale it to the tower."
            )
        return self

    def patches(self, patches: int) -> int:
        """How many of so many patches of a frame, or of one of its windows, the later layers run on."""
        return patches if self.merge is None else merged_per_frame(self.merge, patches)

    def lengths(self, vision: VisionShape) -> list[tuple[int, float]]:
        """(queries, keys) of a frame in each layer of the tower, tokens that are no patches included. `layer` is filled in.

        What can be reused depends on the clip, so this is a frame of which every patch has changed.
        """
        first = self.for_depth(vision.num_layers).layer or 0
        left = [self.patches(part) for part in vision.parts]
        return [vision.lengths(layer, vision.parts if layer < first else left) for layer in range(vision.num_layers)]

    def flops(self, vision: VisionShape, frames: int, ran: Sequence[FrameLengths] = ()) -> float:
        """FLOPs of the reduced tower on `frames` frames, with those of the reduction itself.

        `ran` holds for each frame the (queries, keys) of each layer, as they ran; left out, `lengths` has them. Where it holds other frames
        too, each counts as much as they do on average.
        """
        each = ran or [self.lengths(vision)]
        return frames * sum(vision_flops(vision, 1, one) for one in each) / len(each) + self.reduction_flops(vision, frames)

    def reduction_flops(self, vision: VisionShape, frames: int) -> int:
        """FLOPs of the reduction itself: of comparing pixels, of merging, and of giving every patch back what its merged patch has gained
        (2·P·h a frame)."""
        patches, hidden = vision.patches_per_frame, vision.hidden_size
        compared = 0 if self.reuse is None else change_in_pixels_flops(vision.patch_pixels, frames, patches)
        cost = partial(merge_flops, hidden, frames, weighted=True, largest_step=self.step)
        merged = sum(cost(part, self.patches(part)) for part in vision.parts)
        return compared + (merged + 2 * frames * patches * hidden if merged else 0)

    @property
    def words(self) -> str:
        """The setting in a few words, such as "tower merge 0.3"."""
        told = {"merge": self.merge if self.merge != 1 or self.reuse is None else None, "reuse": self.reuse}
        return f"tower {', '.join(f'{name} {value:.3g}' for name, value in told.items() if value is not None)}"

    def params(self) -> dict:
        """The settings by name, for reports."""
        return asdict(self)


def towers_of(shares: Sequence[float], differences: Sequence[float]) -> list[Tower]:
    """Settings of the vision tower: each share of `Tower.merge` and each difference of `Tower.reuse` alone, and all pairs of them.

    Raises:
        Refusal: one is out of range.
    """
    alone = [Tower(merge=share) for share in shares] + [Tower(reuse=difference) for difference in differences]
    return alone + [Tower(merge=share, reuse=difference) for share in shares for difference in differences]


TOWER = Kind((Tower, type(None)), "a setting of the vision tower, or None", "Make one, such as aim.Tower(merge=0.3).")
