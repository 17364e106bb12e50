"""What `python -m aim plan` prints for people."""

import json
import re

import pytest

from aim.commands.main import main

PAPER = "plan llava-onevision-qwen2-7b --frames 32 --text-tokens 100 --merge-ratio 0.25 --l1 14 --l2 22"
PREFIX = {"": 1e-12, "k": 1e-9, "M": 1e-6, "G": 1e-3, "T": 1.0}


@pytest.fixture
def printed(capsys):
    """`printed(command)` is what the command writes to stdout."""

    def run(command: str) -> str:
        main(command.split())
        return capsys.readouterr().out

    return run


def test_the_papers_figures_have_two_decimals(printed):
    assert printed(PAPER).startswith("prefill 14.76 TFLOP, 6.75 x less than the full model's 99.63 TFLOP\n")


@pytest.mark.parametrize("command", [PAPER, "plan bundled --frames 8", "plan bundled --frames 8 --method fastv"])
def test_every_cost_is_the_one_in_the_json_object_and_none_is_rounded_to_nothing(printed, command):
    plan = json.loads(printed(f"{command} --json"))
    written = re.findall(r"([\d.]+) ([kMGT]?)FLOP", printed(command))
    costs = [plan[f"{name}_tflops"] for name in ("prefill", "baseline", "vision", "merge", "importance")]
    assert [float(number) * PREFIX[prefix] for number, prefix in written] == pytest.approx(costs, rel=0.006)


def test_a_cost_that_is_nothing_is_a_plain_zero(printed):
    assert "merging 0 FLOP, scoring 0 FLOP\n" in printed("plan bundled --method full")
