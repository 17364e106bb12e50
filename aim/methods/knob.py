"""A knob of a method, declared once on its dataclass field. Checks, command line, page, API, links and documentation read it from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from inspect import cleandoc
from numbers import Integral
from textwrap import fill
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from aim.kernels.bounds import Bounds, check_choice, in_words, refusal


@dataclass(frozen=True)
class Knob:
    """What is known of a knob.

    Attributes:
        label: a few words above the control.
        help: one or two sentences for newcomers: what it does.
        bounds: which numbers a method accepts; for a tuple, which each of its entries may be. Without bounds only the choices are accepted.
        step: of the slider.
        slider_high: where the slider ends if that is not `bounds.high`: a number, or a function of the model's number of layers.
        choices: what the page offers, as (words, value), in place of a slider.
        advice: a sentence that follows a refusal and says what to do.
        unset: what None stands for, where it is accepted.
        advanced: kept out of the way of those that matter first.
        planned: the number of tokens some layer runs on depends on it, so that a plan follows it.
        default, name, kind: of the field; `kind` is its type, without None.
    """

    label: str
    help: str
    bounds: Bounds | None = None
    step: float | None = None
    slider_high: float | Callable[[int], float] | None = None
    choices: tuple[tuple[str, Any], ...] = ()
    advice: str = ""
    unset: str = ""
    advanced: bool = True
    planned: bool = True
    default: Any = None
    name: str = ""
    kind: type = float

    @property
    def accepted(self) -> str:
        """Which values a method accepts, in words; "" where nothing was declared."""
        if self.bounds is None:
            return in_words(self.only) if self.only else ""
        return f"a list, each {self.bounds}" if self.kind is tuple else str(self.bounds)

    @property
    def only(self) -> tuple[Any, ...]:
        """The choices where nothing else is accepted."""
        return () if self.bounds else tuple(value for _, value in self.choices)

    @property
    def usual(self) -> str:
        """The default in words."""
        return self.unset if self.default is None else str(self.default)

    @property
    def explained(self) -> str:
        """Help and accepted values, as whole sentences."""
        return " ".join(filter(None, [self.help, self.accepted and f"Accepted: {self.accepted}."]))

    def check(self, value: Any) -> None:
        """Refuse a value that a method does not accept.

        Raises:
            Refusal: with what was given, what is accepted, and what to do.
        """
        if value is None and self.default is None:
            return
        if self.bounds is None:
            if self.only:
                check_choice(self.name, value, self.only, self.advice)
        elif self.kind is tuple:
            if not isinstance(value, (tuple, list)):
                raise refusal(self.name, value, self.accepted, self.advice)
            for entry in value:
                self.bounds.check(f"an entry of {self.name}", entry, self.advice)
        else:
            self.bounds.check(self.name, value, self.advice)

    def cast(self, value: Any) -> Any:
        """A value of a page, a JSON payload or NumPy in the knob's own type, whole numbers of a list as plain ones.

        A value that cannot have the type stays as it is, for `check` to refuse.
        """
        if self.kind is tuple and isinstance(value, (tuple, list)):
            return tuple(int(entry) if isinstance(entry, Integral) and not isinstance(entry, bool) else entry for entry in value)
        if self.kind not in (int, float) or isinstance(value, bool):
            return value
        try:
            made = self.kind(value)
        except (TypeError, ValueError, OverflowError):
            return value
        return made if isinstance(value, str) or made == value else value  # 2.7 must not become 2

    def slider(self, num_layers: int) -> tuple[float, float, float]:
        """(low, high, step) of the slider for a model of this depth. An end that is refused lies one step further in.

        Raises:
            TypeError: the declaration leaves one of them out.
        """
        bounds, step = self.bounds or Bounds(), self.step or 0
        low, high = bounds.low, self.slider_high(num_layers) if callable(self.slider_high) else self.slider_high
        if high is None and bounds.high is not None:
            high = bounds.high - step * bounds.below
        if low is None or high is None or not step:
            raise TypeError(f"The knob {self.name} can have no slider. Declare bounds, step and slider_high, or choices.")
        return low + step * bounds.above, high, step


def knob(default: Any, label: str, help: str, **declared: Any) -> Any:
    """A field of a method's dataclass: its default, and what `Knob` says of it."""
    return field(default=default, metadata={"knob": Knob(label, help, **declared)})


def knobs_of(method: type) -> dict[str, Knob]:
    """The knobs of a method's class by name, as declared. A field without a declaration has its name for a label and no limits."""
    return _declared_knobs(method)


@cache
def _declared_knobs(method: type) -> dict[str, Knob]:
    """`knobs_of`, whose own signature a cache would hide from type checkers."""
    hints = get_type_hints(method)
    return {
        item.name: replace(
            item.metadata.get("knob") or Knob(item.name, ""),
            default=None if item.default is MISSING else item.default,
            name=item.name,
            kind=_kind(hints[item.name]),
        )
        for item in fields(method)
    }


def knobs_by_name(methods: Iterable[type]) -> dict[str, Knob]:
    """The knobs of several methods, each name once, as the first method that has it declares it.

    Raises:
        TypeError: two methods have knobs of one name that differ in type or in their only choices.
    """
    known: dict[str, Knob] = {}
    for method in methods:
        for name, declared in knobs_of(method).items():
            first = known.setdefault(name, declared)
            if (first.kind, first.only) != (declared.kind, declared.only):
                raise TypeError(f"The knob {name} of {method.__name__} differs in type or choices from that of another method. Rename it.")
    return known


def in_short(method: Any) -> str:
    """A method's name and the knobs that are not at their defaults: "aim with metric keys"."""
    changed = [
        f"{name} {getattr(method, name)}" for name, declared in knobs_of(type(method)).items() if getattr(method, name) != declared.default
    ]
    return method.name + (f" with {', '.join(changed)}" if changed else "")


def documented(method: type) -> str:
    """The docstring of a method's class with its knobs listed, as `help` shows it."""
    known = knobs_of(method).values()
    if not known:
        return cleandoc(method.__doc__ or "")
    told = [
        fill(f"{each.name}: {each.explained} Default: {each.usual or None}.", 120, initial_indent=" " * 4, subsequent_indent=" " * 8)
        for each in known
    ]
    return "\n".join([cleandoc(method.__doc__ or ""), "", "Args:", *told, "", "Raises:", "    Refusal: a knob is out of range."])


def _kind(hint: Any) -> type:
    """The type of an annotation, without None and without what a container holds."""
    kinds = [option for option in get_args(hint) if option is not NoneType] if NoneType in get_args(hint) else [hint]
    return get_origin(kinds[0]) or kinds[0]
