"""The app's view of its model: what the model is, one way to put it to work, and the clips it is asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from aim.kernels.grid import Grid
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.methods import Method
from aim.planning.plan import Plan
from aim.ui.jobs import Run
from aim.ui.store import ClipStore


@dataclass(frozen=True)
class AppModel:
    """Everything the page knows of its model. It holds no weights and no features: those are touched by jobs alone.

    Attributes:
        name, is_bundled, device, dtype, num_layers, tokens_per_frame, max_frames: as of `aim.runtime.vlm.VLM`, and so are the functions
            grid, plan, text_tokens and check_context. They need the configuration and the tokenizer, and no GPU.
        features_bytes: () → bytes of vision features that are kept in this process.
        ramp: AIM's l1 and l2 that the paper has for the model's family.
        run: the one way to work with the model, see `aim.ui.jobs.Run`.
        clips: the decoded clips of all visitors.
    """

    name: str
    is_bundled: bool
    device: torch.device
    dtype: torch.dtype
    num_layers: int
    tokens_per_frame: int
    max_frames: int
    grid: Callable[..., Grid]
    plan: Callable[..., Plan]
    text_tokens: Callable[..., int]
    check_context: Callable[[int, Grid, Method], None]
    features_bytes: Callable[[], int]
    run: Run
    clips: ClipStore = field(default_factory=ClipStore.from_environment)
    ramp: StatedRamp = PAPER_RAMP
