"""Questions about a scene, in several wordings (`wordings`), each with a one-word answer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from aim.shapes.scenes import COLOURS, DIRECTIONS, SHAPES, Item, Scene
from aim.shapes.wordings import OPENINGS, TEMPLATES

NUMBERS = ("one", "two", "three", "four")
WHEN = ("start", "middle", "end", "always")
TYPES = ("colour", "shape", "count", "size", "exist", "direction", "when", "order", "change", "needle")
NO_ANSWER = "none"
WORDS_OF_ANSWERS = (*COLOURS, *SHAPES, *NUMBERS, *DIRECTIONS, *WHEN, "yes", "no", NO_ANSWER)
# How much likelier a question is chosen than one of weight 1. What is hard or rare is asked more often.
WEIGHTS = {"direction": 2.0, "when": 1.5, "order": 1.5, "change": 3.0, "needle": 2.0, "size": 3.0, "colour": 0.6, "exist": 0.6}
LASTING = ("always", "late", "gone")
CLEARLY_LATER = 0.2


@dataclass(frozen=True)
class Question:
    """`type` is one of `TYPES`, `answer` one of `WORDS_OF_ANSWERS`, `about` the indices of the scene's items that hold the answer."""

    type: str
    text: str
    answer: str
    about: tuple[int, ...] = ()


def ask_about(scene: Scene, rng: np.random.Generator, times: np.ndarray | None = None, plain: bool = False) -> list[Question]:
    """Every question the scene can answer, each in a random wording, or with `plain` in the first of its wordings.

    `times` holds the moments of the sampled frames; only questions that these frames can answer are asked. None asks all.
    """
    return _Asker(scene, rng, times, plain).all()


class _Asker:
    def __init__(self, scene: Scene, rng: np.random.Generator, times: np.ndarray | None, plain: bool):
        self.items, self.rng, self.times, self.plain = scene.items, rng, times, plain
        self.questions: list[Question] = []
        self.needle = next((item for item in scene.items if item.moment == "needle"), None)
        self.steady = [item for item in scene.items if item is not self.needle]

    def all(self) -> list[Question]:
        for item in self.items:
            if self.sights(item) == 0:
                continue
            if item is self.needle:
                self.ask("needle", "needle_colour", item.colour, [item], shape=item.shape)
                self.ask("needle", "needle_shape", item.shape, [item], colour=item.colour)
                continue
            if item.becomes is None:
                self.ask("colour", "colour", item.colour, [item], shape=item.shape)
                self.ask("shape", "shape", item.shape, [item], colour=item.colour)
            if item.moment in WHEN:
                self.ask("when", "when", item.moment, [item], thing=self.name(item))
            if item.moment in LASTING and not item.bounces and self.sights(item) >= 2:
                self.ask("direction", "direction", item.direction, [item], thing=self.name(item))
            self.ask_for_changes(item)
        self.ask_for_order()
        if self.needle is None and all(self.sights(item) for item in self.items):
            self.ask("count", "count", NUMBERS[len(self.items) - 1], self.items)
            self.ask_for_sizes()
        self.ask_for_existence()
        return self.questions

    def ask_for_changes(self, item: Item) -> None:
        if item.becomes and self.times is not None and len({item.colour_at(t) for t in self.times if item.is_visible(t)}) < 2:
            return
        if item.becomes:
            self.ask("change", "becomes", item.becomes, [item], shape=item.shape)
            self.ask("change", "at_first", item.colour, [item], shape=item.shape)
            self.ask("change", "changes", item.shape, [item])
        if item.growth > 1 and self.sights(item) >= 3:
            self.ask("change", "grows", item.shape, [item])
        if item.bounces and self.sights(item) >= 4:
            self.ask("change", "bounces", item.shape, [item])

    def ask_for_order(self) -> None:
        seen = [item for item in self.steady if self.sights(item)]
        for first, second in permutations(seen, 2):
            pair = [first, second] if self.rng.random() < 0.5 else [second, first]
            names = {"one": pair[0].shape, "other": pair[1].shape}
            if self.seen_from(second) - self.seen_from(first) >= CLEARLY_LATER:
                self.ask("order", "appears_first", first.shape, pair, **names)
                self.ask("order", "before", "yes" if pair[0] is first else "no", pair, **names)
            if self.seen_to(second) - self.seen_to(first) >= CLEARLY_LATER:
                self.ask("order", "disappears_first", first.shape, pair, **names)
        starts = sorted(seen, key=self.seen_from)
        if len(seen) > 1 and self.seen_from(starts[1]) - self.seen_from(starts[0]) >= CLEARLY_LATER:
            self.ask("order", "first_of_all", starts[0].shape, seen)
        if len(seen) > 1 and self.seen_from(starts[-1]) - self.seen_from(starts[-2]) >= CLEARLY_LATER:
            self.ask("order", "last_of_all", starts[-1].shape, seen)

    def ask_for_sizes(self) -> None:
        if len(self.items) < 2 or any(item.growth > 1 for item in self.items):
            return
        by_size = sorted(self.items, key=lambda item: item.radius)
        self.ask("size", "largest", by_size[-1].shape, self.items)
        self.ask("size", "smallest", by_size[0].shape, self.items)

    def ask_for_existence(self) -> None:
        """Whether a shape, a colour, or a shape in a colour is there; and what colour or shape something absent has: "none"."""
        unclear = {self.needle, *(item for item in self.steady if not self.sights(item) or item.becomes)} - {None}
        clear = [item for item in self.items if item not in unclear]
        no_shape = [s for s in SHAPES if s not in {item.shape for item in self.items}]
        no_colour = [c for c in COLOURS if c not in {c for item in self.items for c in (item.colour, item.becomes)}]
        mixed = [(item.colour, other.shape) for item, other in permutations(clear, 2)]
        mixed += [(c, item.shape) for c in no_colour[:2] for item in clear]
        present = [(item, (item.shape, f"{item.colour} {self.pick(('shape', 'object'))}", f"{item.colour} {item.shape}")) for item in clear]
        absent = [self.pick(no_shape), f"{self.pick(no_colour)} {self.pick(('shape', 'object'))}"]
        absent.append(" ".join(mixed[int(self.rng.integers(len(mixed)))]) if mixed else f"{self.pick(no_colour)} {self.pick(no_shape)}")
        for kind in range(3):
            if present and self.rng.random() < 0.5:
                item, names = present[int(self.rng.integers(len(present)))]
                self.ask("exist", "exist", "yes", [item], thing=names[kind])
            else:
                self.ask("exist", "exist", "no", [], thing=absent[kind])
        if self.rng.random() < 0.5:
            self.ask("exist", "colour", NO_ANSWER, [], shape=self.pick(no_shape))
        else:
            self.ask("exist", "shape", NO_ANSWER, [], colour=self.pick(no_colour))

    def ask(self, kind: str, template: str, answer: str, about, **names: str) -> None:
        wordings = TEMPLATES[template]
        text = (wordings[0] if self.plain else self.pick(wordings)).format(**names).replace(" a orange", " an orange")
        if not self.plain:
            text = self.pick(OPENINGS) + text if self.rng.random() < 0.15 else text
            text = text.removesuffix("?") if self.rng.random() < 0.1 else text
        self.questions.append(Question(kind, text, answer, tuple(self.items.index(item) for item in about)))

    def name(self, item: Item) -> str:
        names = [item.shape, f"{item.colour} {item.shape}", f"{item.colour} shape", f"{item.colour} object"]
        return item.shape if item.becomes else self.pick(names)

    def pick(self, words) -> str:
        return words[int(self.rng.integers(len(words)))]

    def sights(self, item: Item) -> int:
        """In how many of the sampled frames an item can be seen; 99 where no frames are given."""
        return 99 if self.times is None else sum(item.is_visible(t) for t in self.times)

    def seen_from(self, item: Item) -> float:
        return item.visible[0] if self.times is None else min(t for t in self.times if item.is_visible(t))

    def seen_to(self, item: Item) -> float:
        return item.visible[1] if self.times is None else max(t for t in self.times if item.is_visible(t))


def choose(questions: list[Question], count: int, rng: np.random.Generator, weights: dict[str, float] = WEIGHTS) -> list[Question]:
    """`count` of the questions in random order, drawn by the weight of their type (1 if it has none).

    The uninformative ones ("when? always") are thinned out. Fewer questions than `count` are repeated, so that every clip of a batch
    carries the same number.
    """
    kept = [q for q in questions if not (q.type == "when" and q.answer == "always" and rng.random() < 0.7)]
    shares = np.array([weights.get(q.type, 1.0) / sum(other.type == q.type for other in kept) ** 0.5 for q in kept])
    order = rng.choice(len(kept), min(count, len(kept)), replace=False, p=shares / shares.sum())
    chosen = [kept[i] for i in order]
    while len(chosen) < count:
        chosen.append(kept[int(rng.integers(len(kept)))])
    return chosen
