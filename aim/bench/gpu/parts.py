"""Parts of a long run: each is tried, timed and told of by itself, within one budget of time."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

import torch
from transformers import PreTrainedModel

from aim.bench.rounds import Bench
from aim.bench.workload import HEIGHT, WIDTH
from aim.methods.published import PAPER_TEXT_TOKENS

RAN, FAILED, SKIPPED = "ran", "failed", "skipped"
FULL_SIZE = "llava-onevision-qwen2-7b"


@dataclass(frozen=True, eq=False)
class Setting:
    """Where the parts run.

    Attributes:
        device: the device to be checked.
        small: tiny models in place of a model of 7B sizes, and few runs.
    """

    device: torch.device
    small: bool = False

    @cached_property
    def full_size(self) -> tuple[PreTrainedModel, dict[str, Any]]:
        """The model whose time is measured, with random weights made on the device, and its picture settings."""
        from aim.bench.sizes import random_model
        from aim.bench.tiny import TINY_MODELS, TINY_PICTURES
        from aim.families import FAMILIES, PUBLISHED, family_of

        if self.small:
            kind = "llava_onevision"
            model = TINY_MODELS[kind](vocab_size=120)
            model.to(device=self.device)  # type: ignore[call-arg]  # transformers' own wrapper hides torch's arguments
            return model, FAMILIES[kind].picture_settings | TINY_PICTURES[kind]
        config = PUBLISHED[FULL_SIZE].config()
        return random_model(config, self.device, torch.bfloat16), family_of(config).picture_settings

    def bench(self, stop: Callable[[], str], end_to_end: bool, new_tokens: int) -> Bench:
        """A benchmark of that model."""
        model, pictures = self.full_size
        height, width = (40, 40) if self.small else (HEIGHT, WIDTH)
        words = 20 if self.small else PAPER_TEXT_TOKENS
        return Bench(model, pictures, words, new_tokens, end_to_end=end_to_end, height=height, width=width, stop=stop)


@dataclass(frozen=True)
class Found:
    """What a part found.

    Attributes:
        figures: plain numbers and texts, for JSON.
        text: the same for people, as tables.
        wrong: what does not hold that should, a line each.
        left_out: what did not run, and why, a line each.
    """

    figures: dict[str, Any]
    text: str
    wrong: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """A part of the run.

    Attributes:
        name: its name, in words.
        module: the module whose `run(setting, stop) -> Found` is called. It asks `stop` before each piece of work; what that returns is why
            no more should start, and "" while more may.
        least: seconds that it needs to be worth its start.
        most: seconds after which it starts nothing more.
    """

    name: str
    module: str
    least: float
    most: float


def run_parts(
    parts: Sequence[Part],
    setting: Setting,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
    load: Callable[[str], Any] = import_module,
) -> Iterator[dict[str, Any]]:
    """Run the parts in order, and yield what is to be told of each.

    It is a dict with `name`, `status`, `seconds`, `why`, and the fields of `Found`.

    `status` is `RAN`, `FAILED` (an error, or something is wrong) or `SKIPPED`. A part does not start where less time is left than it
    needs. It may not take what those after it need at least.
    """
    end = now() + seconds
    for number, part in enumerate(parts):
        start, kept = now(), sum(later.least for later in parts[number + 1 :])
        told: dict[str, Any] = {"name": part.name, "status": SKIPPED, "why": "", "figures": {}, "text": "", "wrong": [], "left_out": []}
        if end - start < part.least:
            told["why"] = f"{max(0, end - start):.0f} s are left, and it needs {part.least:.0f} s"
        else:
            told |= _run(part, setting, _until(max(start + part.least, min(start + part.most, end - kept)), now), load)
        yield told | {"seconds": now() - start}


def _until(end: float, now: Callable[[], float]) -> Callable[[], str]:
    return lambda: "no time was left" if now() >= end else ""


def _run(part: Part, setting: Setting, stop: Callable[[], str], load: Callable[[str], Any]) -> dict[str, Any]:
    try:
        found: Found = load(part.module).run(setting, stop)
    except Exception as error:  # the point of a part: whatever it meets, the next one runs
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        return {"status": FAILED, "why": line.replace("\n", " ")[:500], "wrong": [line[:500]]}
    why = f"{len(found.wrong)} of what should hold does not" if found.wrong else ""
    told = {"figures": found.figures, "text": found.text, "wrong": found.wrong, "left_out": found.left_out}
    return told | {"status": FAILED if found.wrong else RAN if found.figures else SKIPPED, "why": why or "; ".join(found.left_out)[:200]}
