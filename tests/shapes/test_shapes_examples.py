"""The example clips: a scene is taken only if the finished file gives the answers that its story tells."""

import json
from types import SimpleNamespace

import pytest

from aim.kernels.refusal import Refusal
from aim.methods.presets import PRESETS
from aim.shapes import examples
from aim.shapes.questions import Question
from aim.shapes.stories import AGGRESSIVE, FULL, PAPER, STORIES, Story, knobs
from aim.shapes.world import make_scene
from aim.video.clip import Clip

LAYERS = 12


class Answerer:
    """A model that is right under some settings and wrong under others, on scenes with four items only."""

    num_layers = LAYERS

    def __init__(self, right):
        self.right = [(knobs(setting, LAYERS), frames) for setting, frames in right]
        self.names, self.asked = [], []

    def ask(self, clip: Clip, question, method, max_new_tokens):
        self.asked.append((question, len(clip.frames)))
        known = {"merge_ratio": method.merge_ratio, "l1": method.l1, "l2": method.l2}
        good = (known, len(clip.frames)) in self.right and not question.startswith("hard")
        return SimpleNamespace(text="yes" if good else "no")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small clips, and few scenes until the search is given up."""
    monkeypatch.setattr(examples, "SIZE", 64)
    monkeypatch.setattr(examples, "MOST_SCENES", 30)


def question_about(scene):
    """Of a scene with four items; the first such scene of the split is hard, so that its answer is always wrong."""
    if len(scene.items) != 4:
        return None
    return Question("exist", "hard?" if repr(scene.items) == repr(hard_scene().items) else "easy?", "yes")


def hard_scene():
    return next(scene for scene in (make_scene("validation", index) for index in range(99)) if len(scene.items) == 4)


BREAKS = Story(question_about, ((PAPER, 8), (FULL, 8)), ((AGGRESSIVE, 8),), "What it shows.")


def test_the_first_scene_whose_file_gives_the_answers_told_becomes_the_example(tmp_path):
    vlm = Answerer([(PAPER, 8), (FULL, 8)])
    examples.write_examples(vlm, tmp_path, {"one": BREAKS, "two": BREAKS})
    listed = json.loads((tmp_path / "examples.json").read_text())
    assert [entry["file"] for entry in listed] == ["one.mp4", "two.mp4"]
    assert listed[0] == {"file": "one.mp4", "question": "easy?", "answer": "yes", "frames": 8, "shows": "What it shows."}
    assert vlm.asked[0] == ("hard?", 8)  # it was tried, and was not taken
    clips = [examples.read_video(tmp_path / entry["file"], 8).frames for entry in listed]
    assert all(frame.shape == (64, 64, 3) for frame in clips[0])
    assert any((one != two).any() for one, two in zip(*clips, strict=True))  # each has a scene of its own


@pytest.mark.parametrize("right", [[(PAPER, 8), (FULL, 8), (AGGRESSIVE, 8)], [(PAPER, 8)]], ids=["never wrong", "not always right"])
def test_a_story_that_no_scene_tells_is_refused_and_nothing_is_written(tmp_path, right):
    with pytest.raises(Refusal, match="No scene of 30 tells the story “one”"):
        examples.write_examples(Answerer(right), tmp_path / "out", {"one": BREAKS})
    assert not (tmp_path / "out").exists()


def test_the_check_asks_the_files_again(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "STORIES", {"one": BREAKS})
    examples.write_examples(Answerer([(PAPER, 8), (FULL, 8)]), tmp_path, {"one": BREAKS})
    assert examples.check(Answerer([(PAPER, 8), (FULL, 8)]), tmp_path) == {"one": True}
    assert examples.check(Answerer([(PAPER, 8), (FULL, 8), (AGGRESSIVE, 8)]), tmp_path) == {"one": False}
    monkeypatch.setattr(examples, "STORIES", {})
    assert examples.check(Answerer([(PAPER, 8), (FULL, 8)]), tmp_path) == {"one": False}


def test_the_stories_are_those_that_the_page_should_tell():
    survive = [story for story in STORIES.values() if not story.wrong]
    broken = [story for story in STORIES.values() if {setting for setting, _ in story.wrong} & set(PRESETS) and story.right[0][1] == 8]
    assert len(survive) >= 3 and len(broken) >= 3
    for story in STORIES.values():
        assert (PAPER, story.frames) in story.right and (FULL, story.frames) in story.right and story.shows.endswith(".")
    assert STORIES["needle"].frames == 32 and {frames for _, frames in STORIES["needle"].wrong} == {8}
    early = [knobs(setting, LAYERS) for setting, _ in STORIES["when"].wrong]
    assert early == [{"merge_ratio": 1.0, "l1": 0, "l2": 4}] and "l1 to 0 and l2 to 4" in STORIES["when"].shows


def test_each_question_of_a_story_is_one_that_its_scene_answers():
    scenes = [make_scene("validation", index) for index in range(60)]
    for story in STORIES.values():
        suiting = [scene for scene in scenes if story.ask(scene)]
        assert suiting
        for scene in suiting:
            question = story.ask(scene)
            words = {word for item in scene.items for word in (item.shape, item.colour, item.becomes, item.direction, item.moment)}
            assert question.answer in words | {"four"}
