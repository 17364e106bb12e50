"""`aim.match`: the setting of a method that costs what another one does, so that methods can be compared at equal FLOPs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING

from aim.kernels.bounds import ABOVE_0, FROM_1, Bounds, check_choice
from aim.kernels.cost import ModelShape, prefill_flops
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP
from aim.methods import METHODS, Method
from aim.methods.base import METHOD, Row
from aim.methods.published import PAPER_TEXT_TOKENS
from aim.planning.plan import TERA, look_up

if TYPE_CHECKING:
    from transformers import PretrainedConfig

USUAL_TOKENS_PER_FRAME = 196


def match(
    method: str | type[Method] | Method,
    model_shape: str | ModelShape | PretrainedConfig,
    frames: int,
    target_tflops: float,
    tokens_per_frame: int | None = None,
    text_tokens: int = PAPER_TEXT_TOKENS,
    tolerance: float | None = 0.01,
) -> Method:
    """Turn a method's own knob until its prefill costs `target_tflops`, as `aim.plan` counts it.

    The method's `dials` say which knob that is: a share of tokens, or for VTW a layer. AIM turns its merge ratio. Where whole tokens a
    frame are too coarse a step, it also moves whichever of l1 and l2 was left out. PyramidDrop turns its ratio, and its stages for
    costs that ratios of 0.25 and more cannot reach. The first setting within the tolerance is returned. Of the values of its knob that
    cost the same, it has the least.

    Args:
        method: a name in `METHODS`, a method's class, or a method whose other knobs are to stay.
        model_shape: what `aim.planning.plan.look_up` takes, or the shape of an LLM.
        frames: frames of the video, ≥ 1.
        target_tflops: prefill FLOPs / 10^12, > 0.
        tokens_per_frame: ≥ 1. None stands for the model's own, also where it takes frames two by two, or for LLaVA-OneVision's 196 where
            `model_shape` is the bare shape of an LLM.
        text_tokens: everything in the prompt that is not a patch, ≥ 1.
        tolerance: largest deviation from the target, as a share of it, ≥ 0. With None the first setting within 0.01 is taken, and the
            nearest one where there is none.

    Returns:
        The method with every knob filled in for the model's depth.

    Raises:
        Refusal: no setting is within the tolerance (the nearest costs that can be had are named), an unknown method or model, a number
            out of range, or a method that reads a vision tower which cannot be watched.
    """
    _check(frames, target_tflops, tokens_per_frame, text_tokens, tolerance)
    chosen = _method(method)
    if isinstance(model_shape, ModelShape):
        shape, own_tokens, ramp = model_shape, USUAL_TOKENS_PER_FRAME, PAPER_RAMP
    else:
        planned = look_up(model_shape, frames)
        shape, own_tokens, ramp = planned.shape, planned.tokens_per_frame, planned.family.ramp
        planned.fit(chosen)
        if tokens_per_frame is None:
            frames = planned.steps(frames)
    per_frame = tokens_per_frame or own_tokens

    def cost(candidate: Method) -> float:
        visual = candidate.visual_per_layer(shape.num_layers, frames, per_frame, shape.scored_from)
        return prefill_flops(shape, [tokens + text_tokens for tokens in visual]) / TERA

    def setting(row: Row, tflops: float) -> Method:
        return row[bisect_left(row, tflops, key=cost)].for_depth(shape.num_layers, ramp)

    best: dict[bool, tuple[float, Row]] = {}  # the nearest from below (False) and from the target up (True)
    wanted = 0.01 if tolerance is None else tolerance
    for row in chosen.dials(shape.num_layers, ramp):
        for tflops in _neighbours(row, target_tflops, cost):
            if abs(tflops - target_tflops) <= wanted * target_tflops:
                return setting(row, tflops)
            side = tflops >= target_tflops
            if side not in best or abs(tflops - target_tflops) < abs(best[side][0] - target_tflops):
                best[side] = tflops, row
    if tolerance is None:
        tflops, row = min(best.values(), key=lambda pair: abs(pair[0] - target_tflops))
        return setting(row, tflops)
    nearest = " or ".join(f"{tflops:.4g}" for _, (tflops, _) in sorted(best.items()))
    raise Refusal(
        f"{chosen.name} cannot cost {target_tflops:.4g} TFLOP here, within {100 * wanted:g} %; accepted: {nearest}. "
        "Ask for such a budget, or pass tolerance=None for the nearest."
    )


def _neighbours(row: Row, target: float, cost: Callable[[Method], float]) -> list[float]:
    """The costs next to the target in a row of rising cost, the nearer one first: one below it and one not below it, where both exist."""
    ends = cost(row[0]), cost(row[len(row) - 1])
    if not ends[0] < target <= ends[1]:
        return [ends[0] if target <= ends[0] else ends[1]]
    above = bisect_left(row, target, key=cost)
    return sorted((cost(row[above - 1]), cost(row[above])), key=lambda tflops: abs(tflops - target))


def _method(method: str | type[Method] | Method) -> Method:
    if isinstance(method, str):
        check_choice("method", method, METHODS, "Name one of these.")
        method = METHODS[method]
    if isinstance(method, type) and issubclass(method, Method):
        method = method()
    METHOD.check("method", method)
    return method


def _check(frames: int, target_tflops: float, tokens_per_frame: int | None, text_tokens: int, tolerance: float | None) -> None:
    ABOVE_0.check("target_tflops", target_tflops, "Use what `aim.plan` gives for another method.")
    FROM_1.check("frames", frames, "Use 32, for example.")
    FROM_1.check("text_tokens", text_tokens, f"Use {PAPER_TEXT_TOKENS}, for example.")
    if tokens_per_frame is not None:
        FROM_1.check("tokens_per_frame", tokens_per_frame, "Use None for the model's own.")
    if tolerance is not None:
        Bounds(0).check("tolerance", tolerance, "It is a share of the target. Use 0.01, or None for the nearest setting.")
