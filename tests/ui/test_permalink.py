"""Links bring a run back; nothing in one is trusted."""

import json
from urllib.parse import parse_qsl

import pytest

from aim.ui import link_events
from aim.ui.examples import example_of, load_examples
from aim.ui.permalink import link_query, restore
from aim.ui.request import KNOBS, Request
from tests.fakes import FakeVlm


@pytest.fixture
def folder(tmp_path):
    """A folder of examples: one that wants three frames, one that does not care, and one whose file is missing."""
    path = tmp_path / "examples"
    path.mkdir()
    for name in ("first.mp4", "second.mp4"):
        (path / name).write_bytes(name.encode())
    entries = [
        {"file": "first.mp4", "question": "one?", "answer": "a", "frames": 3},
        {"file": "second.mp4", "question": "two?", "answer": "b"},
        {"file": "gone.mp4", "question": "three?", "answer": "c"},
    ]
    (path / "examples.json").write_text(json.dumps(entries))
    return path


TURNED = {
    "merge_ratio": 0.125,
    "l1": 1,
    "l2": 3,
    "num_frames": 5,
    "temperature": 0.2,
    "iterations": 3,
    "damping": 0.25,
    "restart": "question",
    "merge_window": 4,
    "positions": "original",
    "merge_order": "official",
    "metric": "keys",
    "max_new_tokens": 17,
    "score_every_layer": True,
    "compare": True,
    "tower_merge": 0.3,
    "tower_reuse": 8 / 255,
}


def follow(query: str, folder, vlm=None):
    return restore(dict(parse_qsl(query.removeprefix("?"))), vlm or FakeVlm(), folder)


def test_a_link_brings_back_example_question_and_every_knob(folder):
    request = Request.of(video=str(folder / "second.mp4"), question="what & why? ünter", **TURNED)
    values, remark = follow(link_query(request, FakeVlm(), folder), folder)
    assert values == {"video": str(folder / "second.mp4"), "question": "what & why? ünter", **TURNED} and remark == ""
    assert set(TURNED) == set(KNOBS)


def test_a_link_to_an_upload_holds_no_video_and_says_so(folder, tmp_path):
    upload = tmp_path / "first.mp4"  # the name of an example, but not its content
    upload.write_bytes(b"somebody's own")
    request = Request.of(video=str(upload), question="what?", merge_ratio=0.5, l1=1, l2=2, num_frames=2)
    query = link_query(request, FakeVlm(), folder)
    assert "first.mp4" not in query and str(tmp_path) not in query
    values, remark = follow(query, folder)
    assert values["video"] is None and values["merge_ratio"] == 0.5 and "upload it" in remark


def test_no_query_restores_nothing(folder):
    assert follow("", folder) == ({}, "") and follow("__theme=dark", folder) == ({}, "")


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("merge_ratio=7", "merge_ratio"),
        ("merge_ratio=nan", "merge_ratio"),
        ("l1=abc", "l1"),
        ("l1=3&l2=2", "l1, l2"),
        ("num_frames=100000", "num_frames"),
        ("positions=upside-down", "positions"),
        ("compare=maybe", "compare"),
        ("example=../../secret.mp4", "example"),
    ],
)
def test_what_this_app_cannot_show_is_left_out_and_named(folder, query, refused):
    values, remark = follow(query, folder)
    assert f"no such value for: {refused}." in remark
    assert not set(refused.split(", ")) & set(values)


def test_a_link_of_another_model_says_so(folder):
    assert "made with the model other/model; this app runs fake/model" in follow("model=other/model&l1=1", folder)[1]


def test_a_model_folder_on_the_host_is_not_told(folder):
    vlm = FakeVlm()
    vlm.name = "/home/someone/checkpoints/mine"
    request = Request.of(video=str(folder / "first.mp4"), question="what?", merge_ratio=0.5, l1=1, l2=2, num_frames=2)
    assert "someone" not in link_query(request, vlm, folder)


def test_examples_are_the_files_that_are_there(folder, tmp_path):
    assert [(example.path.name, example.question, example.frames) for example in load_examples(folder)] == [
        ("first.mp4", "one?", 3),
        ("second.mp4", "two?", None),
    ]
    assert load_examples(tmp_path / "nowhere") == []
    assert example_of(str(folder / "first.mp4"), folder) == "first.mp4"


def test_a_page_that_is_loaded_again_has_its_upload_back_while_the_server_keeps_it(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(link_events, "get_upload_folder", lambda: str(tmp_path / "uploads"))
    (tmp_path / "uploads" / "hash").mkdir(parents=True)
    upload, elsewhere = tmp_path / "uploads" / "hash" / "mine.mp4", tmp_path / "secret.mp4"
    for file in (upload, elsewhere):
        file.write_bytes(b"film")
    kept = link_events.kept_upload(str(upload))
    assert kept == str(upload)
    values, remark = restore({"question": "what?", "l1": "1"}, FakeVlm(), folder, kept)
    assert values["video"] == str(upload) and remark == ""
    assert restore({"question": "what?", "example": "first.mp4"}, FakeVlm(), folder, kept)[0]["video"] != str(upload)
    sneaked = str(tmp_path / "uploads" / ".." / "secret.mp4")
    for told in (str(elsewhere), sneaked, str(tmp_path / "uploads"), "", None, 7, "\0", str(upload) + "x", "a" * 10_000):
        assert link_events.kept_upload(told) is None
