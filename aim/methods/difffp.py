"""DiffFP: drop the visual tokens whose pixels hardly differ from the frame before (VideoLLaMA3, arXiv 2501.13106)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from aim.kernels.bounds import Bounds
from aim.kernels.changed_patches import change_in_pixels_flops
from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.dropping import kept_alone
from aim.kernels.grid import Grid
from aim.kernels.merging import MergedClip
from aim.kernels.pixel_pruning import moved_places
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.knob import knob


@dataclass(frozen=True)
class DiffFP(Method):
    """Drops the tokens whose pixels hardly differ from those at the same place in the frame before. It is VideoLLaMA3's own compression.

    The rule is that of transformers 5.23 (`VideoLlama3VideoProcessor`), for the "differential frame pruner" of the paper. A
    token's change is the mean absolute difference of its pixels, as the model takes them (resized and normalised), times 255. A token stays
    where this is more than `pixel_threshold`. Frame 0 stays whole, and so does a picture. A later frame of which no token changed keeps
    its first one. Each frame is compared with the one before it, whether or not tokens of that one were dropped. Nothing is merged.

    The processor drops tokens before the prompt is made. Here the vision tower runs on all patches, as it does there, and the tokens are
    dropped before the LLM. Kept tokens are numbered 0, 1, 2…, as there. Under M-RoPE they keep their positions.

    The rule holds for every family, and differs from the source where other families differ from VideoLLaMA3:
    - Where two frames are one step in time, a step is compared with the step before.
    - Where pixels are divided by other deviations than 0.5, the same threshold stands for another difference in colour.
    - Where patches are pooled to tokens with overlaps, a token's pixels are those of its cell of the frame.
    - Images of one size that stand side by side in a prompt count as frames, as they do for all methods here.

    What stands still decides how many tokens are left, so a plan tells the most: all of them. No budget can be met, and the method takes no
    part in comparisons at one cost. Beams are refused, because the pixels of a prompt's rows are then not known.

    Memory is O(pixels of the clip) in float32, once a clip in the runtime. The host waits for the device once a prompt.
    """

    pixel_threshold: float = knob(
        0.1,
        "Pixel difference",
        "A token stays where its pixels differ by more than this, on average, from the frame before. Pixels are normalised, times 255.",
        bounds=Bounds(0),
        step=0.1,
        slider_high=20,
        advice="The default is 0.1.",
        advanced=False,
        planned=False,
    )

    name = "difffp"
    positions = "compact"
    needs_pixels = True
    comparable = False

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        raise Refusal("DiffFP compares the pixels of frames, and only their visual tokens were given. Give the change too, with merge_on.")

    def merge_on(
        self,
        grid: Grid,
        patches: Tensor,
        tower: TowerAttention | None = None,
        question: Tensor | None = None,
        change: Tensor | None = None,
    ) -> MergedClip | None:
        if grid.frames == 1:
            return None
        if change is None:
            return self.merge(patches)
        places = moved_places(change.to(patches.device), self.pixel_threshold)
        return None if len(places) == grid.tokens else kept_alone(patches, places)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        return change_in_pixels_flops(vision.patch_pixels, frames, vision.patches_per_frame)
