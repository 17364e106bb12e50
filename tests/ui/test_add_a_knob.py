"""A knob is declared once: one field added to a method's file, in a copy of the package, is found wherever knobs are read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
# Behind the last knob of AIM, before the class's own attributes.
BEFORE = '    name = "aim"\n'
FIELD = """    haste: float = knob(
        0.5, "Haste of the walk", "How fast it walks.", bounds=CHANCE, step=0.25, advice="Use 0.5.", planned=False
    )
"""
LOOK = """
import argparse, json
from pathlib import Path
from urllib.parse import parse_qsl
import aim
from aim.commands.knobs import add_knobs, methods_of
from aim.ui.page import build_demo
from aim.ui.permalink import link_query, restore
from aim.ui.request import Request
from tests.fakes import FakeVlm

vlm, nowhere = FakeVlm(), Path("nowhere")
parser = argparse.ArgumentParser()
add_knobs(parser)
demo = build_demo(vlm, nowhere)
request = Request.of(video="own.mp4", question="what?", num_frames=2, haste=0.25)
link = link_query(request, vlm, nowhere)
print(json.dumps({
    "help": parser.format_help(),
    "method": methods_of(parser.parse_args(["--haste", "0.75"]))[0].params(),
    "components": [{"type": each["type"], **each["props"]} for each in demo.config["components"] if each["props"].get("elem_id")],
    "api": demo.get_api_info()["named_endpoints"]["/ask"],
    "asked": request.method().params(),
    "link": link,
    "restored": restore(dict(parse_qsl(link[1:])), vlm, nowhere)[0],
    "refused": restore({"haste": "1"}, vlm, nowhere)[1],
    "documentation": aim.AIM.__doc__,
}, default=str))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """What the five places say in a copy of the package whose AIM has one field more."""
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "aim", copy / "aim", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("assets", "tests"):
        (copy / folder).symlink_to(ROOT / folder)
    file = copy / "aim" / "methods" / "aim.py"
    before = file.read_text(encoding="utf-8")
    assert before.count(BEFORE) == 1
    file.write_text(before.replace(BEFORE, f"{FIELD}\n{BEFORE}"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_command_line_has_its_flag_with_its_help(found):
    told = " ".join(found["help"].split())
    assert "--haste HASTE How fast it walks. Accepted: a number of at least 0 and below 1. Taken by: aim." in told
    assert found["method"]["haste"] == 0.75


def test_the_page_has_its_slider_under_advanced_behind_the_others(found):
    [slider] = [each for each in found["components"] if each["elem_id"] == "haste"]
    assert (slider["type"], slider["label"], slider["info"]) == ("slider", "Haste of the walk", "How fast it walks.")
    assert (slider["minimum"], slider["maximum"], slider["step"], slider["value"]) == (0, 0.75, 0.25, 0.5)
    order = [each["elem_id"] for each in found["components"]]
    assert order.index("more") < order.index("merge-order") < order.index("haste") < order.index("max-new-tokens")


def test_the_api_takes_and_describes_it(found):
    [parameter] = [each for each in found["api"]["parameters"] if each["parameter_name"] == "haste"]
    assert parameter["parameter_default"] == 0.5
    assert "haste: How fast it walks. Accepted: a number of at least 0 and below 1." in found["api"]["description"]
    assert found["asked"]["haste"] == 0.25


def test_a_link_holds_it_where_it_was_turned_and_brings_it_back(found):
    assert "haste=0.25" in found["link"] and found["restored"]["haste"] == 0.25
    assert "no such value for: haste." in found["refused"]


def test_the_documentation_lists_it_with_its_default(found):
    told = " ".join(found["documentation"].split())
    assert "haste: How fast it walks. Accepted: a number of at least 0 and below 1. Default: 0.5." in told
