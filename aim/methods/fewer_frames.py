"""FewerFrames: the control that takes fewer frames of the clip, evenly, and changes nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aim.kernels.counts import tokens_of
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.usual_knobs import share_kept


@dataclass(frozen=True)
class FewerFrames(Method):
    """Asks about fewer frames. It is a control, not a method of a paper: every way of reducing tokens has to beat it.

    ⌊keep_ratio · F⌋ of F frames are taken, at least one: those in the middle of as many equal stretches of the clip, as `aim.read_video`
    takes them. All visual tokens of the other frames are dropped before the LLM, and what is left is numbered 0, 1, 2…, so that the LLM
    gets what it would get of a clip with only these frames. Under M-RoPE tokens keep their positions. Text that a prompt has for every
    frame, such as its time, stays. Where the model joins two frames into one, such pairs are taken or left.

    The vision tower need not encode the frames that are left. So the account (`aim.plan`, `Answer.cost`) has the FLOPs of the taken frames
    as `vision_tflops`, beside those of all frames as `baseline_vision_tflops`. No other method here saves any of these. The runtime
    nevertheless encodes the whole clip, once for all methods that are asked about it: the measured time of the tower is that of all frames.

    A clip of one frame, or a picture, has no fewer frames and is refused.
    """

    keep_ratio: float = share_kept(
        0.25, "Share of the clip's frames that is taken.", "Frames taken (keep ratio)", advice="Use 1 to take all."
    )

    name = "fewerframes"
    positions = "compact"

    def frames_seen(self, frames: int) -> int:
        if frames == 1 and self.keep_ratio < 1:
            raise Refusal(
                f"FewerFrames has a keep_ratio of {self.keep_ratio:g} and a clip of 1 frame; accepted: a clip of 2 frames or more. Take "
                "more frames of the clip, or another method for a picture."
            )
        return max(1, tokens_of(self.keep_ratio, frames))

    def taken(self, frames: int) -> list[int]:
        """The frames that are taken of so many, ascending.

        Raises:
            Refusal: there is only one frame, of which a share is to be taken.
        """
        count = self.frames_seen(frames)
        return [(2 * number + 1) * frames // (2 * count) for number in range(count)]

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        frames, per_frame, channels = patches.shape
        taken = self.taken(frames)
        if len(taken) == frames:
            return None
        chosen = torch.tensor(taken).to(patches.device, non_blocking=True)
        places = torch.arange(frames * per_frame, device=patches.device).view(frames, per_frame)
        anchors = places[chosen].flatten()
        assignment = torch.full_like(places, -1).index_copy_(0, chosen, places[: len(taken)])
        return MergedClip(patches[chosen].reshape(-1, channels), assignment, torch.ones_like(anchors), anchors)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return self.frames_seen(frames) * tokens_per_frame

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
