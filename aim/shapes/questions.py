"""Questions about a scene, in several wordings, each with a one-word answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aim.shapes.scenes import COLOURS, DIRECTIONS, MOMENTS, SHAPES, Scene

NUMBERS = ("one", "two", "three")
TEMPLATES = {
    "colour": (
        "what colour is the {shape}?",
        "what color is the {shape}?",
        "which colour is the {shape}?",
        "which color does the {shape} have?",
        "what is the colour of the {shape}?",
        "what is the color of the {shape}?",
    ),
    "shape": (
        "what shape is {colour}?",
        "which shape is {colour}?",
        "what is the shape of the {colour} object?",
        "what is the {colour} shape?",
        "what is the {colour} object?",
    ),
    "direction": (
        "which direction does the {thing} move?",
        "which way does the {thing} move?",
        "in which direction does the {thing} move?",
        "where does the {thing} move?",
        "which way is the {thing} moving?",
        "in what direction is the {thing} moving?",
    ),
    "when": (
        "when does the {thing} appear?",
        "when is the {thing} there?",
        "when can the {thing} be seen?",
        "when is the {thing} visible?",
    ),
    "count": (
        "how many shapes are there?",
        "how many objects are there?",
        "how many shapes are in the video?",
        "how many shapes can be seen?",
        "how many objects appear in the video?",
    ),
    "largest": ("which shape is the largest?", "what is the largest shape?", "which object is the biggest?", "what is the biggest object?"),
    "smallest": (
        "which shape is the smallest?",
        "what is the smallest shape?",
        "which object is the smallest?",
        "what is the smallest object?",
    ),
    "exist": ("is there a {thing}?", "is there a {thing} in the video?", "does a {thing} appear?", "can a {thing} be seen?"),
}
TYPES = ("colour", "shape", "direction", "when", "count", "size", "exist")
ANSWERS = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "direction": DIRECTIONS,
    "when": MOMENTS,
    "count": NUMBERS,
    "size": SHAPES,
    "exist": ("yes", "no"),
}


@dataclass(frozen=True)
class Question:
    """`type` is one of `TYPES`, `answer` one of `ANSWERS[type]`."""

    type: str
    text: str
    answer: str


def ask_about(scene: Scene, rng: np.random.Generator, plain: bool = False) -> list[Question]:
    """Every question the scene can answer, each in a random wording, or with `plain` in the first of its wordings."""

    def word(template: str, **names: str) -> str:
        wording = TEMPLATES[template][0] if plain else str(rng.choice(TEMPLATES[template]))
        return wording.format(**names).replace(" a orange", " an orange")

    questions = []
    for item in scene.items:
        thing = str(rng.choice([item.shape, f"{item.colour} {item.shape}", f"{item.colour} shape", f"{item.colour} object"]))
        questions.append(Question("colour", word("colour", shape=item.shape), item.colour))
        questions.append(Question("shape", word("shape", colour=item.colour), item.shape))
        questions.append(Question("when", word("when", thing=thing), item.moment))
        if item.moment == "always":
            questions.append(Question("direction", word("direction", thing=thing), item.direction))
    questions.append(Question("count", word("count"), NUMBERS[len(scene.items) - 1]))
    if len(scene.items) > 1:
        questions.append(Question("size", word("largest"), max(scene.items, key=lambda item: item.radius).shape))
        questions.append(Question("size", word("smallest"), min(scene.items, key=lambda item: item.radius).shape))
    shapes, colours = {item.shape for item in scene.items}, {item.colour for item in scene.items}
    for names, present, suffix in ((SHAPES, shapes, ""), (tuple(COLOURS), colours, f" {rng.choice(['shape', 'object'])}")):
        wanted = rng.random() < 0.5 or len(present) == len(names)
        candidates = [name for name in names if (name in present) == wanted]
        thing = f"{rng.choice(candidates)}{suffix}"
        questions.append(Question("exist", word("exist", thing=thing), "yes" if wanted else "no"))
    return questions


def choose(questions: list[Question], count: int, rng: np.random.Generator) -> list[Question]:
    """`count` of the questions, in random order, with the uninformative ones ("when? always") thinned out.

    Fewer questions than `count` are repeated, so that every clip of a batch carries the same number.
    """
    kept = [q for q in questions if not (q.type == "when" and q.answer == "always" and rng.random() < 0.7)]
    order = rng.permutation(len(kept))
    chosen = [kept[i] for i in order[:count]]
    while len(chosen) < count:
        chosen.append(kept[int(rng.integers(len(kept)))])
    return chosen
