"""What is kept of a run, on a trace made by hand."""

import json
from pathlib import Path

import pytest
from PIL import Image

from aim.methods import AIM
from aim.runtime.vlm import Answer
from aim.ui.export_files import python_code, save_sheet, save_trace, sheet_views
from aim.ui.handlers import FinishedRun
from aim.ui.request import Request
from aim.views.sheet import contact_sheet
from tests.fakes import COST, TIMINGS, FakeVlm, make_clip, make_trace


def make_run(**changes) -> FinishedRun:
    request = Request.of(
        **{"video": "clips/my clip.mp4", "question": "what?", "merge_ratio": 0.5, "l1": 2, "l2": 4, "num_frames": 2} | changes
    )
    clip, method = make_clip(), request.method()
    answer = Answer(text="a <b>star</b>", model="fake/model", method=method, trace=make_trace(), timings=TIMINGS, cost=COST)
    return FinishedRun(lambda: clip, answer, FakeVlm().plan(2, 5, method), request)


def test_files_are_in_folders_of_their_own(tmp_path):
    run = make_run()
    paths = [Path(save_trace(run, tmp_path)) for _ in range(2)]
    assert paths[0] != paths[1] and {path.parent.parent for path in paths} == {tmp_path}
    assert json.loads(paths[0].read_text())["answer"] == "a <b>star</b>"


def test_every_view_makes_a_sheet_of_its_own(tmp_path):
    seen = set()
    for view in sheet_views():
        with Image.open(save_sheet(make_run(), view, tmp_path)) as sheet:
            assert sheet.format == "PNG"
            seen.add(sheet.tobytes())
    assert len(seen) == len(sheet_views())


def test_a_sheet_holds_every_picture_and_long_words_are_cut():
    pictures = [(Image.new("RGB", (200, 100), (40 * number, 200, 30)), f"{number}") for number in range(6)]
    sheet = contact_sheet(pictures, "why " * 300, ["because"])
    colours = {colour for _, colour in sheet.getcolors(sheet.width * sheet.height)}
    assert {(40 * number, 200, 30) for number in range(6)} <= colours
    assert sheet.width > 1.3 * sheet.height
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet([], "", [])


def test_the_code_names_only_what_differs_from_the_defaults():
    code = python_code(make_run(), example=None)
    assert "aim.load('fake/model')" in code and "aim.read_video('my clip.mp4', num_frames=2)" in code
    assert "aim.AIM(merge_ratio=0.5, l1=2, l2=4)" in code and "clips/" not in code
    everything = python_code(make_run(damping=0.2, restart="question", merge_window=2, score_every_layer=True), example="when.mp4")
    assert "damping=0.2, restart='question', merge_window=2" in everything and 'scores="all"' in everything
    assert "'assets/examples/when.mp4'" in everything


@pytest.mark.parametrize("question", ['it\'s "quoted"', "two\nlines", "');import os#"])
def test_the_code_is_python_whatever_was_asked(question):
    code = python_code(make_run(question=question), example=None)
    asked = []

    class Library:
        AIM = AIM

        @staticmethod
        def load(name):
            return Library

        @staticmethod
        def read_video(path, num_frames):
            return path

        @staticmethod
        def ask(clip, question, method, **options):
            asked.append((clip, question, method))
            return make_run().answer

    exec(compile(code.replace("import aim\n", ""), "copied", "exec"), {"aim": Library})
    assert asked == [("my clip.mp4", question, AIM(merge_ratio=0.5, l1=2, l2=4))]
