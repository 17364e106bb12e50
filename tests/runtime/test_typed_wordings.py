"""The bundled model understands questions as people type them, and names the words that it does not know."""

import re

import pytest

import aim
from aim.runtime.question import unknown_words
from aim.shapes.model import build_tokenizer
from aim.shapes.questions import TYPES
from aim.shapes.scenes import COLOURS, SHAPES
from aim.shapes.wordings import OPENINGS, TEMPLATES
from tests.runtime.typed_scenes import TYPED, typed_clip

ALL = [question for rows in TYPED.values() for _, question, _ in rows]
# Of ten of a type, how many may be wrong. The model card tells how many are.
MOST_WRONG = dict.fromkeys(TYPES, 1) | {"shape": 2, "order": 2, "needle": 2, "change": 3, "size": 4}
IN_SHORT = ("size",)  # where the model is wrong most often; the other types are asked in the whole suite


def bare(text):
    """A wording without its opening, its marks and the names in it, so that only its form is left."""
    text = text.lower()
    for opening in OPENINGS:
        text = text.removeprefix(opening)
    names = "|".join([*SHAPES, *COLOURS, r"\{\w+\}"])
    return re.findall(r"\w+", re.sub(rf"({names})( ({names}))*", "_", text))


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled", device="cpu")


def test_there_are_ten_a_type_and_none_is_one_of_the_wordings_it_was_trained_on():
    assert set(TYPED) == set(TYPES) and {len(rows) for rows in TYPED.values()} == {10}
    assert len(set(ALL)) == 100
    trained = [bare(text) for wordings in TEMPLATES.values() for text in wordings]
    assert [question for question in ALL if bare(question) in trained] == []


@pytest.mark.parametrize("kind", [kind if kind in IN_SHORT else pytest.param(kind, marks=pytest.mark.whole) for kind in TYPES])
def test_typed_questions_are_answered(vlm, kind):
    clips = {name: typed_clip(name) for name, _, _ in TYPED[kind]}
    said = [(question, vlm.ask(clips[name], question, aim.Full(), max_new_tokens=4).text, answer) for name, question, answer in TYPED[kind]]
    wrong = [row for row in said if row[1] != row[2]]
    assert len(wrong) <= MOST_WRONG[kind], wrong


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What color is the hexagon?", ["hexagon"]),
        ("Is the dog barking at the mailman?", ["dog", "barking", "mailman"]),
        ("Which shape is the fastest, and why?", ["fastest", "why"]),
    ],
)
def test_words_it_does_not_know_are_named_and_others_are_not(vlm, question, words):
    said = vlm.ask(typed_clip("ending"), question, aim.Full(), max_new_tokens=4)
    assert re.findall("“(.*?)”", said.note) == words


def test_few_of_the_typed_words_are_unknown_to_it():
    unknown = {word for question in ALL for word in unknown_words(build_tokenizer(), question)}
    assert len(unknown) <= 12, unknown


def test_what_is_not_there_is_said_to_be_none(vlm):
    clip = typed_clip("parade")
    for question in ("What color is the triangle?", "What shape is green?"):
        assert vlm.ask(clip, question, aim.Full(), max_new_tokens=4).text == "none"
