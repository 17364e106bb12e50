"""A knob as its field declares it: type, limits, slider, words; and what the methods' own declarations promise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import aim
from aim.kernels.bounds import CHANCE, FROM_1, SHARE
from aim.kernels.refusal import Refusal
from aim.methods import METHODS, Method
from aim.methods.knob import knob, knobs_by_name, knobs_of
from aim.planning.plan import plan

ROOT = Path(__file__).parents[2]
DECLARED = [(method, declared) for method in METHODS.values() for declared in knobs_of(method).values()]
AIMS = list(knobs_of(aim.AIM).values())


@dataclass(frozen=True)
class Made(Method):
    """Made up."""

    share: float = knob(0.5, "Share", "Share kept.", bounds=SHARE, step=0.25, advice="Use 1.")
    chance: float = knob(0.0, "Chance", "Chance taken.", bounds=CHANCE, step=0.25)
    layer: int | None = knob(None, "Layer", "Layer of it.", bounds=FROM_1, step=1, slider_high=lambda layers: layers + 1, unset="half")
    some: tuple[int, ...] = knob((1,), "Some", "Some of them.", bounds=FROM_1)
    way: str = knob("a", "Way", "Way to go.", choices=(("A", "a"), ("B", "b")))
    window: int = knob(1, "Window", "Frames in it.", bounds=FROM_1, choices=(("one", 1), ("two", 2)))
    plain: int = 3

    name = "made"


MADE = knobs_of(Made)


def test_name_type_and_default_are_those_of_the_field():
    told = {name: (each.name, each.kind, each.default) for name, each in MADE.items()}
    assert told == {
        "share": ("share", float, 0.5),
        "chance": ("chance", float, 0.0),
        "layer": ("layer", int, None),
        "some": ("some", tuple, (1,)),
        "way": ("way", str, "a"),
        "window": ("window", int, 1),
        "plain": ("plain", int, 3),
    }


def test_a_slider_ends_one_step_inside_an_end_that_is_refused_and_may_end_with_the_layers():
    assert MADE["share"].slider(8) == (0.25, 1, 0.25)
    assert MADE["chance"].slider(8) == (0, 0.75, 0.25)
    assert MADE["layer"].slider(8) == (1, 9, 1)
    for name in ("some", "plain"):
        with pytest.raises(TypeError, match=f"The knob {name} can have no slider"):
            MADE[name].slider(8)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("share", 0, "share is 0; accepted: a number above 0 and up to 1. Use 1."),
        ("layer", 1.5, "layer is 1.5; accepted: a whole number of at least 1."),
        ("some", (2, 0), "an entry of some is 0; accepted: a whole number of at least 1."),
        ("some", 2, "some is 2; accepted: a list, each a whole number of at least 1."),
        ("way", "c", 'way is \'c\'; accepted: "a" or "b".'),
        ("window", 0, "window is 0; accepted: a whole number of at least 1."),
        ("window", None, "window is None; accepted: a whole number of at least 1."),
    ],
)
def test_a_method_refuses_what_its_knobs_do_not_accept(name, value, said):
    with pytest.raises(Refusal) as error:
        Made(**{name: value})
    assert str(error.value) == said


def test_a_method_takes_what_its_knobs_accept():
    assert Made(share=1, chance=0.9, layer=None, some=(3, 2), way="b", window=7, plain=-4).window == 7


def test_a_value_from_a_page_or_payload_becomes_the_fields_type_or_stays_to_be_refused():
    assert [MADE["layer"].cast(value) for value in (3.0, "3", None, "x", [], 2.7, True)] == [3, 3, None, "x", [], 2.7, True]
    assert MADE["share"].cast("0.5") == 0.5 and MADE["way"].cast("a") == "a"
    assert MADE["layer"].cast(float("inf")) == float("inf")


def test_two_methods_may_share_a_knob_only_if_they_mean_the_same_by_it():
    @dataclass(frozen=True)
    class Other(Method):
        share: int = knob(1, "Share", "Another type.", bounds=FROM_1)

    @dataclass(frozen=True)
    class Another(Method):
        way: str = knob("a", "Way", "Other choices.", choices=(("A", "a"), ("C", "c")))

    assert list(knobs_by_name([Made, aim.VTW])) == list(MADE)
    for method in (Other, Another):
        with pytest.raises(TypeError, match=f"of {method.__name__} differs in type or choices"):
            knobs_by_name([Made, method])


@pytest.mark.parametrize(("method", "declared"), DECLARED, ids=lambda value: getattr(value, "name", ""))
def test_every_knob_says_what_it_does_and_accepts_and_the_docstring_repeats_it(method, declared):
    assert declared.label and declared.help.endswith(".") and declared.accepted and declared.usual
    documentation = re.sub(r"\s+", " ", method.__doc__)
    assert f"{declared.name}: {declared.explained} Default: {declared.usual}." in documentation


@pytest.mark.parametrize("declared", [each for each in AIMS if not each.choices], ids=lambda each: each.name)
@pytest.mark.parametrize("layers", [2, 12, 80])
def test_aim_accepts_both_ends_of_every_slider(declared, layers):
    low, high, step = declared.slider(layers)
    others = {"l1": {"l2": layers + 2}, "l2": {"l1": 0}}.get(declared.name, {})
    assert low < high and step <= high - low
    for end in (low, high):
        assert getattr(aim.AIM(**{declared.name: declared.cast(end)}, **others), declared.name) == end


@pytest.mark.parametrize("declared", AIMS, ids=lambda each: each.name)
def test_a_plan_follows_the_knobs_that_say_so_and_no_others(declared):
    values = [value for _, value in declared.choices] or [declared.cast(end) for end in declared.slider(28)[:2]]
    # At 0.3 of 196 tokens, what is rounded away differs between windows.
    others = {"merge_ratio": 0.3} | {"restart": {"damping": 0.5}, "l1": {"l2": 29}, "l2": {"l1": 0}}.get(declared.name, {})
    plans = [plan("llava-onevision-qwen2-7b", 8, 50, aim.AIM(**others | {declared.name: value})) for value in values]
    counts = {(each.prefill_tflops, each.kv_bytes, *each.tokens_per_layer) for each in plans}
    assert (len(counts) > 1) == declared.planned


def test_the_readmes_table_lists_the_knobs_that_matter_first_with_their_defaults():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## The three knobs\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", section, flags=re.MULTILINE)
    first = [each for each in AIMS if not each.advanced]
    assert [name for name, _ in rows] == [each.name for each in first]
    assert all(default in each.usual for (_, default), each in zip(rows, first, strict=True))
