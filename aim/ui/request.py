"""What a visitor asks for, as plain values. There is one for each component, in the order in which the page passes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aim.kernels.bounds import Bounds, Kind
from aim.kernels.refusal import Refusal
from aim.methods import AIM
from aim.methods.knob import knobs_of
from aim.methods.tower import Tower
from aim.runtime.limits import MAX_NEW_TOKENS, MAX_QUESTION

METHOD_KNOBS = knobs_of(AIM)
# What is always in a link and in front on the page: the knobs that matter first, and the number of frames.
FIRST = (*(name for name, knob in METHOD_KNOBS.items() if not knob.advanced), "num_frames")
ADVANCED = tuple(name for name, knob in METHOD_KNOBS.items() if knob.advanced)
# The vision tower's settings as `aim.Tower` declares them, each with the number that leaves the tower in full. A parameter of the API
# that may be left out cannot be null.
TOWER_OFF = {"tower_merge": 1.0, "tower_reuse": 0.0}
TOWER_KNOBS = {
    name: replace(known, name=name, default=TOWER_OFF[name], choices=(("off", TOWER_OFF[name]), *known.choices) if known.choices else ())
    for name, known in ((name, knobs_of(Tower)[name.removeprefix("tower_")]) for name in TOWER_OFF)
}
# The names of everything that can be asked for, in the page's order, and those among them that a page, a link or a caller can turn.
KNOBS = (*FIRST, *ADVANCED, "max_new_tokens", "score_every_layer", "compare", *TOWER_KNOBS)
FIELDS = ("video", "question", *KNOBS)


@dataclass(frozen=True)
class Request:
    """A question about a video, with a setting.

    Attributes:
        video: the path of its file, "" where there is none yet.
        question: "" where there is none yet.
        num_frames, max_new_tokens: whole numbers, once `check` has accepted them.
        knobs: AIM's knobs by name (see `aim.AIM`). Those left out are at their defaults.
        tower_merge, tower_reuse: `merge` and `reuse` of `aim.Tower`. 1 merges nothing, and 0 reuses nothing.
    """

    video: str
    question: str
    num_frames: int
    knobs: Mapping[str, Any]
    max_new_tokens: int = 64
    score_every_layer: bool = False
    compare: bool = False
    tower_merge: float = TOWER_OFF["tower_merge"]
    tower_reuse: float = TOWER_OFF["tower_reuse"]

    @classmethod
    def of(cls, *values: Any, **named: Any) -> Request:
        """A request from values in the order of `FIELDS`, or by those names. An empty component's None becomes ""."""
        asked = dict(zip(FIELDS, values, strict=False)) | named
        asked |= {name: asked.get(name) or "" for name in ("video", "question")}
        return cls(knobs={name: asked.pop(name) for name in METHOD_KNOBS if name in asked}, **asked)

    def values(self) -> dict[str, Any]:
        """Every value by its name in `FIELDS`."""
        knobs = {name: self.knobs.get(name, knob.default) for name, knob in METHOD_KNOBS.items()}
        return {name: knobs[name] if name in knobs else getattr(self, name) for name in FIELDS}

    def method(self) -> AIM:
        """AIM with these knobs.

        Raises:
            Refusal: knobs are out of range or contradict each other.
        """
        return AIM(**{name: METHOD_KNOBS[name].cast(value) for name, value in self.knobs.items()})

    def tower(self) -> Tower | None:
        """How the vision tower is reduced; None where it runs in full.

        Raises:
            Refusal: a share or a difference is out of range.
        """
        merge, reuse = (knob.cast(getattr(self, name)) for name, knob in TOWER_KNOBS.items())
        for knob, value in zip(TOWER_KNOBS.values(), (merge, reuse), strict=True):
            knob.check(value)
        return None if merge == 1 and not reuse else Tower(merge=merge, reuse=reuse or None)


def check(request: Request, max_frames: int) -> None:
    """Look at a request before anything is read or run.

    Raises:
        Refusal: something is missing or out of range.
    """
    if not request.video:
        raise Refusal("There is no video yet. Upload one or pick an example.")
    question = request.question.strip()
    if not question:
        raise Refusal("There is no question yet. Type one, and press Run.")
    if len(question) > MAX_QUESTION:
        raise Refusal(f"The question has {len(question):,} characters; up to {MAX_QUESTION:,} are accepted. Please shorten it.")
    frames = whole_number("The number of frames", request.num_frames)
    if not 1 <= frames <= max_frames:
        raise Refusal(f"{frames:,} frames were asked for; this model takes 1 to {max_frames}. Choose a number in between.")
    most = whole_number("The longest answer, in tokens,", request.max_new_tokens)
    Bounds(1, MAX_NEW_TOKENS, whole=True).check("The longest answer, in tokens,", most, "Choose a number in between.")
    for name in ("score_every_layer", "compare"):
        Kind(bool, "true or false", "Use one of these.").check(name, getattr(request, name))
    request.method()
    request.tower()


def whole_number(what: str, value: Any) -> int:
    """A number box's value, which is None while the box is empty.

    Args:
        what: begins the sentence.

    Raises:
        Refusal: it is no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (isinstance(value, int) or value.is_integer()):
        raise Refusal(f"{what} is {str(value)[:40]!r}; a whole number is accepted. Type one.")
    return int(value)
