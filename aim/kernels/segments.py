"""Where a clip is cut into segments: after frames that are unlike the next."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def segment_lengths(features: Tensor, threshold: float, least: int) -> list[int]:
    """How many frames each segment of a clip has, in order; they sum to F.

    The clip is cut after every frame whose cosine with the next is below `threshold`, and after the `least` - 1 frames of the lowest
    cosine, where the earlier one comes first among equals. A clip of fewer frames than `least` is cut after every frame.

    The lengths decide what is computed next, so the host waits for them.

    Args:
        features: one vector a frame [F, C], floating.
        threshold: a cosine.
        least: how many segments there are at least.
    """
    similar = cosine_similarity(features[:-1].float(), features[1:].float(), dim=-1)
    lowest = similar.argsort(stable=True)[: max(0, least - 1)]
    cut = (similar < threshold).index_fill_(0, lowest, True)
    ends = [frame + 1 for frame, here in enumerate(cut.tolist()) if here]
    bounds = [0, *ends, len(features)]
    return [last - first for first, last in zip(bounds, bounds[1:], strict=False)]
