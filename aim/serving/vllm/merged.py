"""One clip's visual tokens, merged as `aim.reduce` merges them, and what the server says about it at its start."""

from __future__ import annotations

import torch
from torch import Tensor
from vllm.logger import init_logger

from aim.kernels.counts import exact, share_of
from aim.kernels.group_sums import group_sums
from aim.kernels.merging import merge_clip

logger = init_logger("vllm.plugins.aim")  # vLLM shows what its own loggers say


def merged(patches: Tensor, frames: int, target: int, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Merge a clip's visual tokens [F · T, C] into `target` a frame, 1...T.

    Args:
        width: how many of the C columns are the token that enters the LLM, by which tokens are compared; None for all. The others are
            DeepStack features, of which a merged token has the plain mean over its patches, as in `aim.engine.deepstack`.

    Returns:
        tokens [F · target, C], and the patch whose place each of them keeps, frame · T + patch, ascending.
    """
    per_frame = len(patches) // frames
    entering, deeper = patches.split([width, patches.shape[1] - width], dim=1) if width else (patches, None)
    clip = merge_clip(entering.reshape(frames, per_frame, -1), share_of(target, per_frame))
    if deeper is None:
        return clip.tokens, clip.anchors
    sums, sizes = group_sums(deeper, clip.assignment.flatten(), len(clip.tokens))
    return torch.cat([clip.tokens, (sums / sizes[:, None]).to(deeper.dtype)], dim=1), clip.anchors


def tell(config) -> None:
    """Say at the start what `--video-pruning-rate` means here. `config` is vLLM's of multimodal models."""
    if config.video_pruning_rate:
        ratio = float(1 - exact(config.video_pruning_rate))
        method = config.video_pruning_method.upper()
        logger.info(
            "The plugin aim stands in for %s: clips are merged to %g of their visual tokens (AIM, arXiv 2412.03248).", method, ratio
        )
    else:
        logger.info("The plugin aim merges the clips of requests that give a merge_ratio; others are served as without it.")
