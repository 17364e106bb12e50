"""The app's view of its model: what the model is, one way to put it to work, and the clips it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from aim.kernels.grid import Grid
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.methods import Method
from aim.planning.plan import Plan
from aim.ui.full_answers import FullAnswers
from aim.ui.gate import Gate
from aim.ui.jobs import Run
from aim.ui.store import ClipStore
from aim.video.clip import Clip


@dataclass(frozen=True)
class AppModel:
    """Everything the page knows of its model. It holds no weights and no features: those are touched by jobs alone.

    Attributes:
        name, is_bundled, device, dtype, num_layers, tokens_per_frame, max_frames, tower_limits: as of `aim.runtime.vlm.VLM`, and so are
            the functions grid, grid_of, plan, text_tokens, check_context and fit. They need the configuration and the tokenizer, and no
            GPU.
        features_bytes: () → bytes of vision features that are kept in this process.
        ramp: AIM's l1 and l2 that the paper has for the model's family.
        run: the one way to work with the model, see `aim.ui.jobs.Run`.
        live: whether every run is so cheap that moves of a knob start one from the beginning on; see `aim.ui.pace`.
        metered: whether each job is charged to the visitor, so that only Run starts one.
        choosable: whether visitors may choose another model, see `aim.ui.choosing`.
        clips: the decoded clips of all visitors.
        full_answers: what the full model said about them.
        gate: who may use the model at once.
    """

    name: str
    is_bundled: bool
    device: torch.device
    dtype: torch.dtype
    num_layers: int
    tokens_per_frame: int
    max_frames: int
    grid: Callable[..., Grid]
    grid_of: Callable[[Clip], Grid]
    plan: Callable[..., Plan]
    text_tokens: Callable[..., int]
    check_context: Callable[[int, Grid, Method], None]
    fit: Callable[[Method], Method]
    tower_limits: Mapping[str, str]
    features_bytes: Callable[[], int]
    run: Run
    live: bool = False
    metered: bool = False
    choosable: bool = False
    clips: ClipStore = field(default_factory=ClipStore.from_environment)
    ramp: StatedRamp = PAPER_RAMP
    full_answers: FullAnswers = field(default_factory=FullAnswers)
    gate: Gate = field(default_factory=Gate)
