"""What a question of the synthetic world asks, found from its text alone: its kind of wording and the things it names."""

from itertools import permutations, product
from string import Formatter

from aim.shapes.scenes import COLOURS, SHAPES
from aim.shapes.wordings import OPENINGS, TEMPLATES

THINGS = (*SHAPES, *(f"{colour} {noun}" for colour, noun in product(COLOURS, (*SHAPES, "shape", "object"))))
FILLINGS = {
    (): [()],
    ("shape",): [(shape,) for shape in SHAPES],
    ("colour",): [(colour,) for colour in COLOURS],
    ("thing",): [(thing,) for thing in THINGS],
    ("one", "other"): list(permutations(SHAPES, 2)),
}


def every_question() -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Each question that can be put, without an opening and a question mark, with every (kind, names) that it may stand for."""
    meanings: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for kind, wordings in TEMPLATES.items():
        for wording in wordings:
            fields = tuple(field for _, field, _, _ in Formatter().parse(wording) if field)
            for filling in FILLINGS[fields]:
                names = dict(zip(fields, filling, strict=True))
                text = wording.format(**names).replace(" a orange", " an orange").removesuffix("?")
                meanings.setdefault(text, []).append((kind, names))
    return meanings


QUESTIONS = every_question()


def meanings_of(text: str) -> list[tuple[str, dict[str, str]]]:
    """All (kind, names) for which a question as it was put may stand. One is what it should be."""
    bare = text.removesuffix("?")
    rests = [bare, *(bare.removeprefix(opening) for opening in OPENINGS if bare.startswith(opening))]
    return [meaning for rest in rests for meaning in QUESTIONS.get(rest, ())]
