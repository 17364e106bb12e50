"""Held-out clips and what is asked about them: a function of split and number, the same under every setting and number of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aim.kernels.refusal import Refusal
from aim.shapes.drawing import camera, owner_of_tokens
from aim.shapes.model import IMAGE_SIZE
from aim.shapes.questions import Question, ask_about, choose
from aim.shapes.scenes import Scene, frame_times
from aim.shapes.world import make_scene

if TYPE_CHECKING:
    from aim.runtime.vlm import VLM

QUESTIONS_PER_CLIP = 10
SEED = 2412


@dataclass(frozen=True)
class HeldOutClip:
    """A scene no training step has drawn, with up to `QUESTIONS_PER_CLIP` different questions."""

    split: str
    index: int
    scene: Scene
    questions: tuple[Question, ...]


def held_out_clip(index: int, split: str = "test") -> HeldOutClip:
    """Clip number `index` of "test" or "validation".

    All its needle questions are asked, whether or not the sampled frames show the needle, because that is what more frames are for. The
    others are drawn by `aim.shapes.questions.choose`; a simple scene has fewer than ten.
    """
    scene, rng = make_scene(split, index), np.random.default_rng([SEED, index])
    possible = ask_about(scene, rng)
    needles = [question for question in possible if question.type == "needle"]
    others = [question for question in possible if question.type != "needle"]
    chosen = choose(others, QUESTIONS_PER_CLIP - len(needles), rng)
    return HeldOutClip(split, index, scene, tuple(dict.fromkeys(needles + chosen)))


def tokens_a_side(vlm: VLM) -> int:
    """How many visual tokens a side the model makes of each frame of these clips.

    Raises:
        Refusal: a model that joins frames, or whose tokens of a frame make no square, so that its tokens show no frame of their own.
    """
    pair = vlm.grid(2, IMAGE_SIZE, IMAGE_SIZE)
    if pair.frames != 2 or pair.rows != pair.columns:
        raise Refusal(
            f"The model makes {pair.frames} x {pair.rows} x {pair.columns} tokens of two frames; the benchmark needs a square for each. "
            "Use a model that takes frames one by one, such as LLaVA-OneVision."
        )
    return pair.rows


def film(clip: HeldOutClip, frames: int, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """The clip at `frames` evenly spread moments, and which item is seen in each of grid · grid patches of a frame.

    Returns:
        The frames, uint8 [F, size, size, 3]; and int [F, grid²], the item that fills most of each patch, -1 for none (`owner_of_tokens`).

    Raises:
        Refusal: a grid that does not divide the picture.
    """
    if IMAGE_SIZE % grid:
        raise Refusal(
            f"The model makes {grid} x {grid} tokens of a frame; the benchmark needs a divisor of {IMAGE_SIZE} a side. Use --model bundled."
        )
    # The same camera whatever the number of frames: only the moments differ.
    pictures, masks = camera(clip.scene, frame_times(frames), IMAGE_SIZE, np.random.default_rng([SEED, clip.index, 1]))
    return pictures, owner_of_tokens(masks, grid)
