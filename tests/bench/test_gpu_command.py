"""The command for a GPU, tried without one: its parts run on tiny models, each by itself, and what is wrong is told."""

import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch

import aim
from aim.bench.gpu import finite, waits, words
from aim.bench.gpu.cases import case, groups
from aim.bench.gpu.command import PARTS, main
from aim.bench.gpu.parts import Found, Part, Setting, run_parts
from aim.bench.gpu.tally import outcomes
from aim.bench.tiny import TINY_MODELS, TINY_PICTURES
from aim.families import FAMILIES
from aim.methods import METHODS

CPU = torch.device("cpu")
METHOD = aim.AIM(merge_ratio=0.5, l1=2, l2=5)
# Everything that the project uses elsewhere, and a GPU's machine may lack.
ABSENT = ("gradio", "plotly", "av", "decord", "pytest")


@pytest.fixture(scope="module")
def reference():
    return case("llava_onevision", CPU, torch.float32)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_all_parts_run_where_only_torch_and_transformers_are(tmp_path):
    script = f"""
        import runpy, sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {ABSENT!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Absent())
        sys.argv = ["aim.bench.gpu", "--device", "cpu", "--small", "--out", {str(tmp_path / "found.json")!r}]
        runpy.run_module("aim.bench.gpu", run_name="__main__")
    """
    root = Path(aim.__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=390
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "found.json").read_text())
    status = {part["name"]: part["status"] for part in report["parts"]}
    assert list(status) == [part.name for part in PARTS]
    assert {name for name, value in status.items() if value != "ran"} == {"waits of the host", "tests"}  # for which this is no place
    found = {part["name"]: part["figures"] for part in report["parts"]}
    cases = len(METHODS) + len(FAMILIES) - 1
    assert found["words and kept tokens"]["counts"] == {"equal": cases}
    assert found["half precision"]["counts"] == {"finite": 2 * cases}
    assert found["prefill"]["variants"]["aim"]["kv_bytes"] < found["prefill"]["variants"]["sdpa"]["kv_bytes"]
    assert [point["frames"] for point in found["growth"]["growth"] if point["variant"] == "aim"] == [1, 2, 3]
    line = done.stdout.splitlines()[-1]
    assert line.startswith("RESULT ") and list(json.loads(line.removeprefix("RESULT "))["parts"]) == list(status)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "torch finds 0 GPUs here; run it on a machine with one"),
        (["--device", "cpu"], "accepted: cuda, or cpu with --small"),
        (["--device", "nothing"], "device"),
        (["--device", "cpu", "--small", "--seconds", "0"], "--seconds is 0; accepted: a number above 0"),
        (["--device", "cpu", "--small", "--out", "missing/found.json"], "give a file in a folder that exists"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="the first of them measures where there is a GPU")
def test_what_cannot_be_measured_is_refused_in_one_sentence(given, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(given)
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and message in printed.err and printed.err.count("\n") == 1 and not printed.out


class Told:
    """Modules of parts by name, and a clock that only they move on."""

    def __init__(self):
        self.time, self.asked = 0.0, {}

    def now(self):
        return self.time

    def load(self, name):
        if name == "missing":
            raise ModuleNotFoundError("No module named 'plotly'", name="plotly")
        return type("Module", (), {"run": lambda _setting, stop: self.run(name, stop)})

    def run(self, name, stop):
        began = self.time
        while not stop() and self.time < began + 100:
            self.time += 1
        self.asked[name] = self.time - began
        return Found({"seconds": self.asked[name]}, "", ["two and two are five"] if name == "wrong" else [])


def told_of(parts, seconds):
    told = Told()
    found = list(run_parts([Part(name, name, *limits) for name, *limits in parts], Setting(CPU), seconds, told.now, told.load))
    return found, told.asked


def test_a_part_that_fails_takes_no_other_along():
    found, asked = told_of([("one", 1, 5), ("missing", 1, 5), ("wrong", 1, 5), ("last", 1, 5)], 60)
    assert [part["status"] for part in found] == ["ran", "failed", "failed", "ran"]
    assert "No module named 'plotly'" in found[1]["why"] and found[2]["wrong"] == ["two and two are five"]
    assert asked == {"one": 5, "wrong": 5, "last": 5}


def test_the_budget_leaves_each_part_what_it_needs_and_the_rest_is_skipped():
    found, asked = told_of([("long", 10, 500), ("short", 20, 20), ("late", 15, 30)], 60)
    assert asked == {"long": 25, "short": 20, "late": 15} and found[-1]["status"] == "ran"
    found, asked = told_of([("one", 10, 10), ("much", 80, 90)], 60)
    assert asked == {"one": 10}
    assert found[1]["status"] == "skipped" and found[1]["why"] == "50 s are left, and it needs 80 s"


def test_every_method_and_every_family_is_a_case():
    assert set(TINY_MODELS) == set(TINY_PICTURES) == set(FAMILIES)
    few = [(kind, name) for kind, methods in groups(small=True) for name in methods]
    assert {kind for kind, _ in few} == set(FAMILIES) and {name for _, name in few} == set(METHODS)
    all_pairs = [(kind, name) for kind, methods in groups(small=False) for name in methods]
    assert len(all_pairs) == len(set(all_pairs)) == len(FAMILIES) * len(METHODS)


def test_other_words_and_other_kept_tokens_are_noticed(reference):
    assert words.compared(reference, case("llava_onevision", CPU, torch.float32), METHOD) == words.EQUAL
    model, inputs = case("llava_onevision", CPU, torch.float32)
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"].flip(-1)
    assert words.compared(reference, (model, inputs), METHOD) in ("words and kept tokens differ", "kept tokens differ")
    model, inputs = case("llava_onevision", CPU, torch.float32)
    with torch.no_grad():
        model.lm_head.weight.neg_()
    assert words.compared(reference, (model, inputs), METHOD) == "words differ"
    assert words.compared(reference, (model, {}), METHOD).startswith("failed: ")


def test_a_value_that_is_not_finite_is_noticed(reference):
    model, inputs = case("llava_onevision", CPU, torch.bfloat16)
    assert finite.checked(model, inputs, METHOD) == finite.FINITE
    with torch.no_grad():
        model.lm_head.weight[7] = float("inf")
    assert finite.checked(model, inputs, METHOD) == "logits are not finite"


def test_checks_are_counted_and_refusals_are_not_wrong():
    found = outcomes(
        "checks", {"a": "fine", "b": "refused: no tower", "c": "failed: KeyError: x", "d": "fine", "e": "no time was left"}, "fine", []
    )
    assert found.figures["counts"] == {"fine": 2, "refused": 1, "failed": 1, "no time was left": 1}
    assert found.wrong == ["c: failed: KeyError: x"] and found.left_out == ["e: no time was left"]


def test_waits_are_counted_by_line_in_the_second_prefill(reference, monkeypatch):
    """CUDA warns of each wait in the debug mode that is switched on for the second prefill alone."""
    mode = ["default"]
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda name: mode.__setitem__(0, name))

    def layer(*_):
        if mode[0] == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    model, inputs = reference
    handle = model.model.language_model.layers[1].register_forward_hook(layer)
    counts = waits.counted(model, inputs, METHOD)
    handle.remove()
    [(line, number)] = counts.items()
    assert line.startswith("bench/test_gpu_command.py:") and number == 1 and mode == ["default"]
