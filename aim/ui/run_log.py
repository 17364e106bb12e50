"""One line for each run on the logger "aim.runs". A host sees how runs go, and nothing of a visitor's video, question or answer.

Its last figures are the memory that clips and vision features take in this process, for all visitors together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aim.kernels.refusal import Refusal
from aim.runtime.answer import Answer
from aim.runtime.byte_sizes import MIB
from aim.runtime.faults import NotEnoughMemory
from aim.runtime.precision import products_in
from aim.ui.model import AppModel
from aim.ui.texts import public_name

logger = logging.getLogger("aim.runs")
STAGES = ("decode_video", "preprocess", "vision_tower", "merge", "importance", "llm_prefill", "decode", "total")
# By the exception that ended the run. The first kind that fits counts.
OUTCOMES = ((NotEnoughMemory, "failed"), (Refusal, "refused"), (GeneratorExit, "stopped"), (BaseException, "failed"))


@contextmanager
def logged(vlm: AppModel, method: str, frames: int, stopped: Callable[[], bool] = bool) -> Iterator[Callable[[Answer | None], None]]:
    """Log what runs inside the block: one line for each complete answer that the yielded function gets, or one line without an answer.

    Args:
        method, frames: what was asked for. They are logged where there is no answer, as after a search, which hands over None.
        stopped: whether a run that ended without an error was stopped.
    """
    complete: list[Answer | None] = []
    error: BaseException | None = None
    try:
        yield complete.append
    except BaseException as raised:
        error = raised
        raise
    finally:
        for answer in complete:
            told = (method, frames) if answer is None else (answer.method.name, answer.frames)
            logger.info(_line(vlm, *told, "stopped" if stopped() else "ok", answer))
        if isinstance(error, Exception) or not complete:
            outcome = "stopped" if error is None or stopped() else _outcome(error)
            logger.info(_line(vlm, method, frames, outcome))


def log_unstarted(vlm: AppModel, method: str, frames: int, error: Exception) -> None:
    """Log a run that an error ended before it began."""
    logger.info(_line(vlm, method, frames, _outcome(error)))


def _outcome(error: BaseException) -> str:
    return next(word for kind, word in OUTCOMES if isinstance(error, kind))


def _line(vlm: AppModel, method: str, frames: int, outcome: str, answer: Answer | None = None) -> str:
    facts: dict[str, object] = {
        "model": public_name(vlm.name),
        "method": method,
        "frames": frames if isinstance(frames, (int, float)) else "?",
    }
    if answer is not None:
        if answer.trace.frames != answer.frames:
            facts |= {"steps": answer.trace.frames}
        visual, text = answer.trace.tokens_per_layer[0]
        facts |= {"visual_tokens": answer.trace.visual_tokens, "merged_tokens": visual, "text_tokens": text}
        facts |= {"new_tokens": answer.new_tokens}
        if answer.tower is not None:
            facts |= {f"tower_{name}": f"{value:.4g}" for name, value in answer.tower.params().items() if value is not None}
            facts |= {"tower_computed": "?" if answer.tower_computed is None else f"{answer.tower_computed:.3g}"}
        facts |= {f"{stage}_ms": round(answer.timings[stage] * 1000, 1) for stage in STAGES if stage in answer.timings}
    facts |= {"products": products_in(vlm.device, vlm.dtype)}
    facts |= {"clips_mib": _mib(vlm.clips.bytes), "features_mib": _mib(vlm.features_bytes())}
    return " ".join(f"{name}={value}" for name, value in {**facts, "outcome": outcome}.items())


def _mib(size: int) -> float:
    return round(size / MIB, 1)
