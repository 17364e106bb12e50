"""Flags to methods: every combination once, and only knobs that are taken."""

import argparse

import pytest

import aim
from aim.commands.knobs import KNOBS, add_knobs, methods_of
from aim.kernels.refusal import Refusal


def methods(*flags, several=True):
    parser = argparse.ArgumentParser()
    add_knobs(parser, several)
    return methods_of(parser.parse_args(flags))


def test_every_knob_of_every_method_has_a_flag():
    assert set(KNOBS) == {name for method in aim.METHODS.values() for name in method.__dataclass_fields__}


def test_no_flags_mean_the_papers_setting():
    assert methods() == methods(several=False) == [aim.AIM()]


def test_several_values_make_every_combination():
    made = methods("--merge-ratio", "0.5", "0.25", "--positions", "compact", "original", "--merge-order", "official")
    assert made == [
        aim.AIM(merge_ratio=ratio, positions=places, merge_order="official") for ratio in (0.5, 0.25) for places in ("compact", "original")
    ]


def test_a_method_takes_the_knobs_it_has_and_appears_once():
    assert methods("--method", "full", "aim", "--merge-ratio", "0.5", "0.1") == [
        aim.Full(),
        aim.AIM(merge_ratio=0.5),
        aim.AIM(merge_ratio=0.1),
    ]


def test_the_rivals_take_theirs():
    assert methods("--method", "pdrop", "--ratio", "0.4", "--stages", "3,6") == [aim.PyramidDrop(ratio=0.4, stages=(3, 6))]
    assert methods("--method", "fastv", "random", "prumerge", "vtw", "--layer", "3", "--keep-ratio", "0.2", "--seed", "5") == [
        aim.FastV(layer=3, keep_ratio=0.2),
        aim.Random(layer=3, keep_ratio=0.2, seed=5),
        aim.PruMerge(keep_ratio=0.2),
        aim.VTW(layer=3),
    ]
    assert methods("--method", "tome", "--merge-ratio", "0.5") == [aim.ToMe(merge_ratio=0.5)]


def test_stages_that_are_no_numbers_are_refused():
    with pytest.raises(SystemExit):
        methods("--method", "pdrop", "--stages", "3;6")


def test_a_knob_nobody_takes_is_refused():
    with pytest.raises(Refusal, match=r"--method full takes these knobs: none; given: l1\."):
        methods("--method", "full", "--l1", "3")


def test_one_value_only_where_one_answer_is_wanted():
    with pytest.raises(SystemExit):
        methods("--merge-ratio", "0.5", "0.1", several=False)


def test_a_switch_is_on_or_off_as_on_the_page(capsys):
    for said, value in (("on", True), ("off", False), ("ON", True), ("true", True), ("false", False)):
        assert methods("--method", "prumerge", "--plus", said) == [aim.PruMerge(plus=value)]
    with pytest.raises(SystemExit):
        methods("--method", "prumerge", "--plus", "yes")
    assert "'yes' is neither on nor off" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        methods("--help")
    assert "--plus {on,off}" in capsys.readouterr().out
