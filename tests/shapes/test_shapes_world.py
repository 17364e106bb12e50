"""The synthetic world: what is drawn is what is asked about, and splits do not meet."""

from collections import Counter

import numpy as np
import pytest

from aim.shapes.drawing import camera, owner_of_tokens, render, render_masks
from aim.shapes.model import build_tokenizer, vocabulary
from aim.shapes.questions import CLEARLY_LATER, NUMBERS, TYPES, WORDS_OF_ANSWERS, ask_about, choose
from aim.shapes.scenes import COLOURS, SHAPES, frame_times
from aim.shapes.wordings import OPENINGS, TEMPLATES
from aim.shapes.world import SPLITS, make_scene, split_of
from tests.asked import QUESTIONS, meanings_of

TIMES = frame_times(64)


def questions_of(index, split="test", times=None):
    scene = make_scene(split, index)
    return scene, ask_about(scene, np.random.default_rng(index), times)


class Seen:
    """What the pixels alone tell of one item: frames and masks in, nothing of the item's own fields."""

    def __init__(self, frames, masks, number):
        self.frames, self.mask = frames, masks == number + 1
        self.areas = self.mask.sum((1, 2))
        self.there = np.flatnonzero(self.areas)

    def colour(self, frame):
        pixels = self.frames[frame][self.mask[frame]].astype(int)
        return min(COLOURS, key=lambda name: np.abs(np.median(pixels, 0) - COLOURS[name]).sum())

    def clear(self):
        """Frames in which little of it is hidden."""
        return [f for f in self.there if self.areas[f] > 0.85 * np.median(self.areas[self.there])]

    def centre(self, frame):
        rows, columns = np.nonzero(self.mask[frame])
        return np.array([columns.mean(), rows.mean()])

    def moment(self):
        share, middle = len(self.there) / len(TIMES), TIMES[self.there].mean()
        if share > 0.5:  # items that pass behind others are gone for a while
            return "always"
        if share < 0.1:
            return "needle"
        return "start" if middle < 1 / 3 else "end" if middle > 2 / 3 else "middle"

    def direction(self):
        first, last = self.clear()[0], self.clear()[-1]
        along, down = self.centre(last) - self.centre(first)
        if max(abs(along), abs(down)) < 8:
            return "nowhere"
        if abs(along) > abs(down):
            return "right" if along > 0 else "left"
        return "down" if down > 0 else "up"


def check_order(kind, names, answer, there):
    """`there`: the frames in which each of the shapes is seen. The answer comes clearly before, or after, whatever else is asked about."""
    starts, ends = ({shape: frames[place] for shape, frames in there.items()} for place in (0, -1))
    if kind == "before":
        assert answer == ("yes" if starts[names["one"]] < starts[names["other"]] else "no")
    moments = ends if kind == "disappears_first" else starts
    ordered = sorted(moments, key=moments.get, reverse=kind == "last_of_all")
    assert kind == "before" or answer == ordered[0]
    assert abs(moments[ordered[1]] - moments[ordered[0]]) >= (CLEARLY_LATER - 0.04) * len(TIMES)


@pytest.mark.parametrize("index", [pytest.param(index, marks=() if index < 8 else pytest.mark.whole) for index in range(60)])
def test_every_answer_can_be_read_off_the_pixels(index):
    scene, questions = questions_of(index)
    frames, masks = render(scene, TIMES, 112)
    seen = [Seen(frames, masks, number) for number in range(len(scene.items))]
    shapes = [item.shape for item in scene.items]
    colours = {number: {one.colour(frame) for frame in one.clear()} for number, one in enumerate(seen)}
    checked = Counter()
    for question in questions:
        assert question.type in TYPES and question.answer in WORDS_OF_ANSWERS
        about = [seen[number] for number in question.about]
        [(kind, names)] = meanings_of(question.text)
        checked[question.type] += 1
        if question.answer == "none":
            assert names["shape"] not in shapes if kind == "colour" else names["colour"] not in set().union(*colours.values())
        elif kind == "colour":
            assert colours[shapes.index(names["shape"])] == {question.answer}
        elif kind == "shape":
            assert [shapes[number] for number in colours if names["colour"] in colours[number]] == [question.answer]
        elif kind == "count":
            assert question.answer == NUMBERS[sum(len(one.there) > 0 for one in seen) - 1]
        elif kind == "when":
            assert question.answer == about[0].moment()
        elif kind == "direction":
            assert question.answer == about[0].direction()
        elif question.type == "needle":
            assert about[0].moment() == "needle"
            shape = scene.items[question.about[0]].shape
            assert question.answer == (shape if kind == "needle_shape" else about[0].colour(about[0].there[0]))
        elif kind == "exist":
            assert (question.answer == "yes") == bool(question.about)
        elif question.type == "size":
            areas = [one.mask.any(1).sum(1).max() for one in about]  # widest extent: areas of crosses and squares do not compare
            extreme = {"largest": max, "smallest": min}[kind](areas)
            assert question.answer in SHAPES and abs(areas[shapes.index(question.answer)] - extreme) <= 8
        elif kind == "grows":
            area = about[0].areas[about[0].there]
            assert area.max() > 1.5 * area[: len(area) // 8].max() and area.argmax() > len(area) / 3
        elif kind == "bounces":
            way = [np.abs(about[0].centre(f) - about[0].centre(about[0].there[0])).max() for f in about[0].there]
            assert max(way) > way[-1] + 5
        elif question.type == "change":
            changing = next(one for number, one in enumerate(seen) if len(colours[number]) > 1)
            first, last = (changing.colour(changing.clear()[place]) for place in (0, -1))
            assert question.answer == {"at_first": first, "becomes": last, "changes": shapes[seen.index(changing)]}[kind]
        else:
            check_order(kind, names, question.answer, {shapes[number]: seen[number].there for number in question.about})
    assert checked["exist"] >= 4


def test_no_question_stands_for_two_kinds_of_wording():
    assert {wording for wordings in TEMPLATES.values() for wording in wordings if wordings.count(wording) > 1} == set()
    for opening in ("", *OPENINGS):
        for text in QUESTIONS:
            assert len(meanings_of(opening + text)) == 1, opening + text


def test_all_kinds_of_questions_and_events_come_up():
    types, moments, events = Counter(), Counter(), Counter()
    for index in range(150):
        scene, questions = questions_of(index, "validation")
        types.update(question.type for question in questions)
        moments.update(item.moment for item in scene.items)
        events.update(
            e for item in scene.items for e in (item.bounces * "bounces", (item.growth > 1) * "grows", item.becomes and "changes")
        )
    assert set(types) == set(TYPES) and min(types.values()) > 20
    assert set(moments) == {"always", "late", "gone", "start", "middle", "end", "needle"}
    assert min(events[name] for name in ("bounces", "grows", "changes")) > 5


def test_a_scene_depends_on_split_and_number_alone():
    for split in SPLITS:
        first, again = (render(make_scene(split, 7), TIMES[::8], 64)[0] for _ in range(2))
        assert np.array_equal(first, again)


@pytest.mark.long
def test_splits_share_no_scene_not_even_one_alike():
    kinds = {split: {split_of(make_scene(split, index)) for index in range(100)} for split in SPLITS}
    assert kinds == {"train": {"train"}, "pretrain": {"train"}, "validation": {"validation"}, "test": {"test"}}
    pictures = [render(make_scene(split, i), [0.5], 64)[0].tobytes() for split in SPLITS for i in range(100)]
    assert len(set(pictures)) == len(pictures)


def test_the_same_scene_is_drawn_at_any_size_and_number_of_frames():
    scene = make_scene("test", 4)
    small, large = render_masks(scene, TIMES, 48), render_masks(scene, TIMES, 240)
    assert (small == large[:, 2::5, 2::5]).mean() > 0.97
    assert np.array_equal(render_masks(scene, TIMES[::4], 48), small[::4])


def test_brief_items_are_seen_with_four_frames_and_needles_with_32_but_seldom_with_8():
    brief, needles, needles_seen = 0, 0, 0
    for index in range(300):
        for item in make_scene("train", index).items:
            if item.moment in ("start", "middle", "end"):
                brief += 1
                assert any(item.is_visible(time) for time in frame_times(4))
            if item.moment == "needle":
                needles += 1
                assert item.visible[1] - item.visible[0] <= 1 / 16
                assert any(item.is_visible(time) for time in frame_times(32))
                needles_seen += any(item.is_visible(time) for time in frame_times(8))
    assert brief > 50 and needles > 40 and 0.2 < needles_seen / needles < 0.65


def test_only_what_the_frames_show_is_asked_in_training():
    hidden = 0
    for index in range(200):
        times = frame_times(8)
        scene, questions = questions_of(index, "train", times)
        for question in questions:
            for number in question.about:
                assert any(scene.items[number].is_visible(time) for time in times)
        hidden += any(not any(item.is_visible(t) for t in times) for item in scene.items)
    assert hidden > 10


def test_a_token_belongs_to_the_item_that_fills_it_most():
    scene = make_scene("test", 3)
    _, masks = camera(scene, frame_times(4), 112, np.random.default_rng(0))
    owners = owner_of_tokens(masks, 7)
    for frame in range(4):
        for token in range(49):
            row, column = divmod(token, 7)
            square = masks[frame, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            shares = [(square == number + 1).mean() for number in range(len(scene.items))]
            assert owners[frame, token] == (int(np.argmax(shares)) if max(shares) > 0.12 else -1)


def test_every_word_of_every_question_is_in_the_vocabulary():
    tokenizer = build_tokenizer()
    for index in range(200):
        for question in questions_of(index)[1]:
            assert tokenizer.unk_token_id not in tokenizer(question.text + " " + question.answer)["input_ids"], question
    assert len(set(vocabulary())) == len(vocabulary())


def test_chosen_questions_are_as_many_as_asked_for():
    rng = np.random.default_rng(0)
    for index in range(50):
        assert len(choose(questions_of(index)[1], 10, rng)) == 10
