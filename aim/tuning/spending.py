"""Spend the saving: where each frame costs less, the same prefill FLOPs pay for more frames (in the paper 192 instead of 32)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from aim.kernels.bounds import ABOVE_0, FROM_1, Kind
from aim.kernels.refusal import Refusal
from aim.methods import Full, Method
from aim.methods.base import METHOD
from aim.methods.published import PAPER_TEXT_TOKENS
from aim.methods.tower import Tower
from aim.runtime.answer import Answer
from aim.runtime.vlm import LOADED, VLM
from aim.video.clip import MAX_FRAMES_READ, Clip

READER = Kind(
    Callable,  # type: ignore[arg-type]  # isinstance takes it
    "a function from a number of frames to a clip",
    "Use aim.read_video with the file filled in.",
)


def frames_for(
    vlm: VLM,
    method: Method,
    budget_tflops: float,
    max_frames: int,
    text_tokens: Callable[[int], int] = lambda frames: PAPER_TEXT_TOKENS,
    height: int = 360,
    width: int = 640,
) -> int:
    """The most frames that a method can take within a budget and the model's context.

    Args:
        budget_tflops: modelled prefill FLOPs / 10^12, > 0.
        max_frames: the most that the video can give, ≥ 1.
        text_tokens: a number of frames → how many tokens of the prompt are no patches, ≥ 1. Some families write text beside every frame.
        height, width: the size of a frame, in pixels.

    Returns:
        A number from 1 to max_frames.

    Raises:
        Refusal: not even one frame is within the budget and the context, or max_frames is below 1.
    """
    FROM_1.check("max_frames", max_frames, "Use 64, for example.")
    ABOVE_0.check("budget_tflops", budget_tflops, "It is what the full model takes, for example.")

    def beyond(frames: int) -> bool:
        grid, text = vlm.grid(frames, height, width), text_tokens(frames)
        if vlm.plan(frames, text, method, grid).prefill_tflops > budget_tflops:
            return True
        try:
            vlm.check_context(grid.tokens + text, grid, method.for_depth(vlm.num_layers, vlm.ramp))
        except Refusal:
            return True
        return False

    frames = bisect_right(range(1, max_frames + 1), False, key=beyond)
    if frames == 0:
        raise Refusal(f"The budget is {budget_tflops:.4g} TFLOP; one frame takes more with this method. Raise it or reduce more.")
    return frames


def spend(
    vlm: VLM,
    read: Callable[[int], Clip],
    question: str,
    method: Method,
    frames: int,
    max_frames: int = MAX_FRAMES_READ,
    max_new_tokens: int = 64,
    tower: Tower | None = None,
) -> tuple[Answer, Answer]:
    """Ask twice for the same prefill FLOPs: the full model on `frames` frames, and the method on as many as that pays for.

    Args:
        read: a number of frames → the clip with so many frames, such as `aim.read_video` with the file filled in. A short video may give
            fewer.
        question: 1 to 2,000 characters.
        method: the one that the second answer uses.
        frames: how many frames the full model gets, at least 1.
        max_frames: the most frames that the method may get, at least 1.
        max_new_tokens: for each answer, at least 1.
        tower: how the vision tower is reduced for the method. The full model has the full tower.

    Returns:
        (the full model's answer, the method's answer on as many frames as fit). The second costs at most as much as the first.

    Raises:
        Refusal: the method costs more than the full model, or `read` or `VLM.ask` refuses.
    """
    LOADED.check("vlm", vlm)
    METHOD.check("method", method)
    READER.check("read", read)
    FROM_1.check("frames", frames, "Use 8, for example.")
    FROM_1.check("max_frames", max_frames, "Use 64, for example.")
    clip = read(frames)
    full = vlm.ask(clip, question, Full(), max_new_tokens)

    def text_tokens(count: int) -> int:
        times = [(number + 0.5) * clip.duration / count for number in range(count)]  # where `aim.read_video` takes them
        return vlm.text_tokens(question, count, times=times)

    more = frames_for(vlm, method, full.cost["prefill_tflops"], max_frames, text_tokens, *clip.frames.shape[1:3])
    return full, vlm.ask(read(more), question, method, max_new_tokens, tower=tower)
