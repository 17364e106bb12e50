"""What a visitor asks for, as plain values: one a component, in the order the page passes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aim.methods import AIM
from aim.methods.knob import knobs_of
from aim.runtime.limits import MAX_QUESTION

METHOD_KNOBS = knobs_of(AIM)
# What is always in a link and in front on the page: the knobs that matter first, and the number of frames.
FIRST = (*(name for name, knob in METHOD_KNOBS.items() if not knob.advanced), "num_frames")
ADVANCED = tuple(name for name, knob in METHOD_KNOBS.items() if knob.advanced)
# The names of everything that can be asked for, in the page's order, and those among them that a page, a link or a caller can turn.
KNOBS = (*FIRST, *ADVANCED, "max_new_tokens", "score_every_layer", "compare")
FIELDS = ("video", "question", *KNOBS)


@dataclass(frozen=True)
class Request:
    """A question about a video, with a setting.

    Attributes:
        knobs: AIM's knobs by name (see `aim.AIM`); those left out are at their defaults.
    """

    video: str | None
    question: str | None
    num_frames: int
    knobs: Mapping[str, Any]
    max_new_tokens: int = 64
    score_every_layer: bool = False
    compare: bool = False

    @classmethod
    def of(cls, *values: Any, **named: Any) -> Request:
        """A request from values in the order of `FIELDS`, or by those names."""
        asked = dict(zip(FIELDS, values, strict=False)) | named
        return cls(knobs={name: asked.pop(name) for name in METHOD_KNOBS if name in asked}, **asked)

    def values(self) -> dict[str, Any]:
        """Every value by its name in `FIELDS`."""
        knobs = {name: self.knobs.get(name, knob.default) for name, knob in METHOD_KNOBS.items()}
        return {name: knobs[name] if name in knobs else getattr(self, name) for name in FIELDS}

    def method(self) -> AIM:
        """Raises ValueError when knobs are out of range or contradict each other."""
        return AIM(**{name: METHOD_KNOBS[name].cast(value) for name, value in self.knobs.items()})


def check(request: Request, max_frames: int) -> None:
    """Raises ValueError, worded for the visitor, when something is missing or out of range."""
    if not request.video:
        raise ValueError("There is no video yet. Upload one or pick an example.")
    question = (request.question or "").strip()
    if not question:
        raise ValueError("There is no question yet. Type one, for example: what happens?")
    if len(question) > MAX_QUESTION:
        raise ValueError(f"The question has {len(question):,} characters; up to {MAX_QUESTION:,} are accepted. Please shorten it.")
    if not 1 <= request.num_frames <= max_frames:
        raise ValueError(f"{request.num_frames:,} frames were asked for; this model takes 1 to {max_frames}. Choose a number in between.")
    request.method()
