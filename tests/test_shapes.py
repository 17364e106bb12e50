"""The synthetic world: what is drawn is what is asked about, splits do not meet, and a packed row is many single prompts."""

import json

import numpy as np
import pytest
import torch

from aim.shapes import train
from aim.shapes.model import build_model, build_tokenizer, vocabulary
from aim.shapes.packing import NO_LABEL, pack, packed_logits, to_pixels, use_packed_attention, visual_embeddings
from aim.shapes.questions import ANSWERS, NUMBERS, TYPES, Question, ask_about, choose
from aim.shapes.scenes import COLOURS, SHAPES, SPLITS, frame_times, make_scene, render

TIMES = frame_times(16)


def questions_of(index, split="test"):
    scene = make_scene(split, index)
    return scene, ask_about(scene, np.random.default_rng(index))


@pytest.mark.parametrize("index", range(60))
def test_every_answer_can_be_read_off_the_pixels(index):
    scene, questions = questions_of(index)
    frames, masks = render(scene, TIMES, 112)
    areas = np.stack([(masks == n + 1).sum((1, 2)) for n in range(len(scene.items))])  # [items, frames]
    seen = areas > 0

    def colour_of(n):
        pixels = frames[masks == n + 1].astype(int)
        named = {name: np.abs(np.median(pixels, 0) - rgb).sum() for name, rgb in COLOURS.items()}
        return min(named, key=named.get)

    def moment_of(n):
        if seen[n].mean() > 0.5:
            return "always"
        middle = TIMES[seen[n]].mean()
        return "start" if middle < 1 / 3 else "end" if middle > 2 / 3 else "middle"

    def direction_of(n):
        rows, columns = np.indices(masks.shape[1:])
        at = [(columns[m == n + 1].mean(), rows[m == n + 1].mean()) for m in masks[[0, -1]]]
        along, down = at[1][0] - at[0][0], at[1][1] - at[0][1]
        if max(abs(along), abs(down)) < 12:
            return "nowhere"
        if abs(along) > abs(down):
            return "right" if along > 0 else "left"
        return "down" if down > 0 else "up"

    assert len(scene.items) == sum(seen.any(1))
    for number, item in enumerate(scene.items):
        assert colour_of(number) == item.colour
        assert moment_of(number) == item.moment
        unhidden = areas[number, [0, -1]].min() > 0.9 * areas[number].max()
        if item.moment == "always" and unhidden:
            assert direction_of(number) == item.direction
    for question in questions:
        assert question.answer in ANSWERS[question.type]
        named = [item for item in scene.items if item.shape in question.text or f" {item.colour} " in question.text]
        if question.type == "colour":
            assert question.answer == named[0].colour
        elif question.type == "count":
            assert question.answer == NUMBERS[len(scene.items) - 1]
        elif question.type == "exist":
            assert (question.answer == "yes") == bool(named)


def test_a_scene_depends_on_split_and_number_alone():
    for split in SPLITS:
        first, again = (render(make_scene(split, 7), TIMES, 64)[0] for _ in range(2))
        assert np.array_equal(first, again)
    pictures = {render(make_scene(split, i), [0.5], 64)[0].tobytes() for split in SPLITS for i in range(100)}
    assert len(pictures) == 100 * len(SPLITS)


def test_the_same_scene_is_drawn_at_any_size_and_number_of_frames():
    scene = make_scene("test", 4)
    small, large = render(scene, TIMES, 48)[1], render(scene, TIMES, 240)[1]
    assert (small == large[:, 2::5, 2::5]).mean() > 0.97
    assert np.array_equal(render(scene, TIMES[::4], 48)[1], small[::4])


def test_a_brief_item_is_seen_with_as_few_as_four_frames():
    brief = 0
    for index in range(200):
        scene = make_scene("train", index)
        for item in scene.items:
            if item.moment != "always":
                brief += 1
                assert any(item.is_visible(time) for time in frame_times(4))
    assert brief > 50


def test_every_word_of_every_question_is_in_the_vocabulary():
    tokenizer = build_tokenizer()
    for index in range(200):
        for question in questions_of(index)[1]:
            assert tokenizer.unk_token_id not in tokenizer(question.text + " " + question.answer)["input_ids"]
    assert len(set(vocabulary())) == len(vocabulary())


def test_chosen_questions_are_as_many_as_asked_for():
    rng = np.random.default_rng(0)
    for index in range(50):
        assert len(choose(questions_of(index)[1], 10, rng)) == 10


def test_a_packed_row_gives_each_question_the_logits_it_has_alone():
    torch.manual_seed(0)
    model, tokenizer = build_model().eval(), build_tokenizer()
    scenes = [questions_of(i) for i in (1, 2)]
    questions = [asked[:5] for _, asked in scenes]
    pixels = to_pixels(np.stack([render(scene, frame_times(4), 96)[0] for scene, _ in scenes]))
    with torch.no_grad():
        alone = []
        for row, asked in enumerate(questions):
            for question in asked:
                text = f"<|im_start|>user {'<video>' * 145} {question.text}<|im_end|><|im_start|>assistant {question.answer}"
                ids = tokenizer(text, return_tensors="pt")["input_ids"]
                alone.append(model(input_ids=ids, pixel_values_videos=pixels[row : row + 1]).logits[0, -2:])
        use_packed_attention(model)
        batch = pack(questions, 145, tokenizer)
        packed = packed_logits(model, batch, visual_embeddings(model, pixels))
    torch.testing.assert_close(packed, torch.cat(alone), atol=2e-4, rtol=1e-4)
    assert (batch.types >= 0).sum() == 10
    assert (batch.labels != NO_LABEL).sum() == 20


def test_a_smaller_stride_moves_positions_together_and_removes_nothing():
    asked = [[Question("count", "how many shapes are there?", "one")]]
    whole, close = (pack(asked, 100, build_tokenizer(), [stride]) for stride in (1.0, 0.25))
    assert torch.equal(whole.input_ids, close.input_ids) and torch.equal(whole.mask, close.mask)
    assert whole.positions[0, 102] == 102 and close.positions[0, 102] == 2 + 25


def test_training_runs_from_scratch_stops_resumes_and_writes_a_loadable_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "FRAMES_PER_STEP", 6)
    monkeypatch.setattr(train, "CLIPS_PER_STEP", {2: 2, 4: 2, 8: 2, 16: 2})
    options = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--vision-steps", "2", "--processes", "1"]
    train.main([*options, "--steps", "1"])
    train.main([*options, "--steps", "3"])
    lines = [json.loads(line) for line in (tmp_path / "work" / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [(0, 0), (0, 1), (1, 0), (1, 2)]
    from aim.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(str(tmp_path / "out"))
    assert checkpoint.model.num_parameters() == build_model().num_parameters()
    assert set(TYPES) == set(ANSWERS) and set(SHAPES) == set(ANSWERS["shape"])
