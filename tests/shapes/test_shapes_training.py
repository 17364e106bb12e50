"""Training of the bundled model: a packed row is many single prompts, the targets are what was drawn, and a run can stop and go on."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from aim.runtime.checkpoints import load_checkpoint
from aim.shapes import answer_stage, pointing, told, train, vision_stage
from aim.shapes.drawing import owner_of_tokens, render, render_masks
from aim.shapes.model import GRID, TOKENS_PER_FRAME, build_model, build_tokenizer
from aim.shapes.packing import NO_LABEL, pack, packed_forward, to_pixels, use_packed_attention, visual_embeddings
from aim.shapes.questions import Question, ask_about, choose
from aim.shapes.scenes import COLOURS, DIRECTIONS, SHAPES, frame_times
from aim.shapes.tally import Tally
from aim.shapes.world import RADII, make_scene
from tests.asked import meanings_of

FRAMES = 4
PLACEHOLDERS = FRAMES * TOKENS_PER_FRAME + 1


@pytest.fixture
def packed_rows():
    """An untrained model, two clips with five questions each, their pixels, and the same as a packed batch."""
    torch.manual_seed(0)
    model, tokenizer = build_model().eval(), build_tokenizer()
    scenes = [make_scene("test", index) for index in (1, 2)]
    questions = [ask_about(scene, np.random.default_rng(0))[:5] for scene in scenes]
    pixels = to_pixels(np.stack([render(scene, frame_times(FRAMES), 112)[0] for scene in scenes]))
    return model, tokenizer, questions, pixels, pack(questions, PLACEHOLDERS, tokenizer)


def test_a_packed_row_gives_each_question_the_logits_it_has_alone(packed_rows):
    model, tokenizer, questions, pixels, batch = packed_rows
    with torch.no_grad():
        alone = []
        for row, asked in enumerate(questions):
            for question in asked:
                text = f"<|im_start|>user {'<video>' * PLACEHOLDERS} {question.text}<|im_end|><|im_start|>assistant {question.answer}"
                ids = tokenizer(text, return_tensors="pt")["input_ids"]
                alone.append(model(input_ids=ids, pixel_values_videos=pixels[row : row + 1]).logits[0, -2:])
        use_packed_attention(model)
        packed, _, _ = packed_forward(model, batch, visual_embeddings(model, pixels))
    torch.testing.assert_close(packed, torch.cat(alone), atol=2e-4, rtol=1e-4)
    assert (batch.types >= 0).sum() == 10
    assert (batch.labels != NO_LABEL).sum() == 20


def test_what_is_read_halfway_is_what_a_hook_on_that_layer_sees(packed_rows):
    model, _, _, pixels, batch = packed_rows
    use_packed_attention(model)
    seen = []
    model.model.language_model.layers[4].register_forward_hook(lambda _module, _arguments, output: seen.append(output))
    with torch.no_grad():
        visual = visual_embeddings(model, pixels)
        _, tokens, places = packed_forward(model, batch, visual, layers=5)
        _, first, _ = packed_forward(model, batch, visual, layers=0)
    torch.testing.assert_close(tokens, seen[0][:, 2 : 2 + PLACEHOLDERS - 1])
    answers = [[place for place, type in enumerate(row) if type >= 0] for row in batch.types.tolist()]
    torch.testing.assert_close(places, torch.cat([seen[0][row][answers[row]] for row in range(2)]))
    torch.testing.assert_close(first, visual[:, :-1])


def test_a_stride_moves_positions_and_removes_nothing():
    asked = [[Question("count", "how many shapes are there?", "one")]]
    whole, close, far = (pack(asked, 100, build_tokenizer(), [stride]) for stride in (1.0, 0.25, 2.0))
    assert torch.equal(whole.input_ids, close.input_ids) and torch.equal(whole.mask, close.mask)
    assert [batch.positions[0, 102] for batch in (whole, close, far)] == [102, 2 + 25, 202]


def test_the_dense_targets_tell_what_each_item_has_done_so_far():
    times, checked = frame_times(8), Counter()
    for index in range(120):
        scene = make_scene("train", index)
        owners = owner_of_tokens(render_masks(scene, times, 112), GRID)
        facts = told.so_far(scene, times, owners).reshape(*owners.shape, -1)
        assert (facts[owners < 0] == NO_LABEL).all()
        for frame, token in zip(*np.nonzero(owners >= 0), strict=True):
            item = scene.items[owners[frame, token]]
            way, former, late, grows, extreme = facts[frame, token]
            first = next(f for f in range(8) if item.is_visible(times[f]))
            assert late == (first > 0)
            assert former == (list(COLOURS).index(item.colour) if item.colour_at(times[frame]) != item.colour_at(times[first]) else 8)
            if extreme != NO_LABEL:
                radii = [other.radius for other in scene.items if any(other.is_visible(t) for t in times[: frame + 1])]
                assert (extreme == 1, extreme == 2) == (item.radius >= max(radii), item.radius <= min(radii))
            if grows != NO_LABEL:
                assert grows == (item.growth > 1)
            if way != NO_LABEL and not item.bounces:
                assert DIRECTIONS[way] == item.direction and frame > first
            checked.update(late=int(late), former=int(former < 8), grows=int(grows == 1), turned=int(way == len(DIRECTIONS)))
    assert min(checked.values()) > 20


def test_frames_come_as_often_as_the_curriculum_says():
    luck = (np.arange(1000) + 0.5) / 1000
    for progress, (_, shares) in zip((0.0, 0.2, 0.4, 0.99), answer_stage.CURRICULUM, strict=True):
        counts = Counter(answer_stage.frames_of_step(progress, value) for value in luck)
        assert {frames: count / 1000 for frames, count in counts.items()} == pytest.approx(shares, abs=0.002)


def test_hard_types_are_asked_more_and_none_is_dropped():
    weights = answer_stage.question_weights({"size": 0.5, "colour": 1.0, "shape": 1.0})
    assert weights["size"] > 4 * weights["shape"] > 0
    rng, asked = np.random.default_rng(0), [Question(kind, kind, "yes") for kind in ("size", "shape")]
    picked = Counter(choose(asked, 1, rng, weights)[0].type for _ in range(400))
    assert picked["size"] > 4 * picked["shape"] > 0


def test_a_question_points_at_the_tokens_of_the_item_that_answers_it():
    checked = Counter()
    for index in range(40):
        scene = make_scene("train", index)
        owners = owner_of_tokens(render_masks(scene, frame_times(8), 112), GRID)
        asked = ask_about(scene, np.random.default_rng(index), frame_times(8))
        for question, row in zip(asked, pointing.evidence(scene, asked, owners), strict=True):
            pointed = {scene.items[owner].shape for owner in owners.reshape(-1)[row]}
            checked[question.type] += 1
            if question.answer == "none" or (question.type, question.answer) == ("exist", "no"):
                assert not pointed
            elif question.type == "size":
                [(kind, _)] = meanings_of(question.text)
                extreme = {"largest": max, "smallest": min}[kind]
                assert pointed == {extreme(scene.items, key=lambda item: item.radius).shape}
            elif question.type in ("shape", "order") and question.answer in SHAPES:
                assert pointed <= {question.answer}
            elif question.type == "colour":
                assert pointed <= {shape for shape in SHAPES if shape in question.text}
    assert min(checked[name] for name in ("exist", "size", "shape", "order", "colour")) > 10


def test_the_pointers_loss_is_minus_the_log_of_the_attention_on_the_evidence():
    torch.manual_seed(0)
    pointer, tokens, places = pointing.Pointer(12), torch.randn(2, 5, 12), torch.randn(2, 3, 12)
    targets = torch.rand(2, 3, 5) < 0.4
    targets[0, 1] = False  # a question about nothing, such as one about a shape that is not there
    loss, right = pointer(tokens, places, targets)
    expected, hits = [], []
    for clip, question in (targets.any(-1)).nonzero().tolist():
        query = pointer.asked(torch.nn.functional.layer_norm(places[clip, question], (12,)))
        keys = pointer.shown(torch.nn.functional.layer_norm(tokens[clip], (12,)))
        attention = torch.softmax(keys @ query / 8, 0)
        expected.append(-attention[targets[clip, question]].sum().log())
        hits.append(bool(targets[clip, question, attention.argmax()]))
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert right.tolist() == hits
    nothing, none = pointer(tokens, places, torch.zeros_like(targets))
    assert nothing.item() == 0 and none.numel() == 0


def test_a_size_is_told_on_an_even_scale_that_keeps_the_four_apart():
    steps = np.diff([vision_stage.bigness(radius) for radius in RADII])
    assert steps.min() > 0.5 and steps.max() < 1.2 * steps.min()


def test_the_learning_rate_rises_and_falls_to_nothing():
    rates = [train.rate_at(step, 1000, 50) for step in range(1000)]
    assert np.argmax(rates) in range(45, 55) and max(rates) > 0.98
    assert rates[-1] < 1e-5 and all(np.diff(rates[60:]) < 0)


class Stopped(Exception):
    """What stops a run here."""


def small_run(monkeypatch, folder):
    """One run in one process of two vision steps, three answer steps and two later ones, with few clips in each.

    A state is stored after every step.
    """
    monkeypatch.setattr(train, "SAVE_EVERY", -1)
    monkeypatch.setattr(vision_stage, "FRAMES_PER_STEP", 4)
    monkeypatch.setattr(answer_stage, "CLIPS_PER_STEP", dict.fromkeys(answer_stage.CLIPS_PER_STEP, 2))
    folders = ["--out", str(folder / "out"), "--work", str(folder / "work")]
    steps = ["--vision-steps", "2", "--steps", "3", "--later-steps", "2"]
    train.main([*folders, *steps, "--processes", "1", "--no-bfloat16"])


def lines_of(folder):
    return [json.loads(line) for line in (folder / "out" / "training.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        small_run(patch, folder)
    return folder


@pytest.mark.long
def test_a_run_that_is_stopped_and_resumed_writes_the_same_weights_and_one_whole_log(tmp_path, monkeypatch, straight):
    """It is stopped in the stage that answers first, between the two that answer, and in the last."""
    loss, stops = answer_stage.AnswerStage.loss, [2, answer_stage.SCENES_BEFORE, answer_stage.SCENES_BEFORE + 1]

    def stop_once_a_step(stage, step, progress):
        if step in stops:
            stops.remove(step)
            raise Stopped
        return loss(stage, step, progress)

    monkeypatch.setattr(answer_stage.AnswerStage, "loss", stop_once_a_step)
    for _ in range(3):
        with pytest.raises(Stopped):
            small_run(monkeypatch, tmp_path)
    small_run(monkeypatch, tmp_path)
    assert not stops
    weights = [(folder / "out" / "model.safetensors").read_bytes() for folder in (straight, tmp_path)]
    assert weights[0] == weights[1]
    whole, resumed = lines_of(straight), lines_of(tmp_path)
    assert [(line["stage"], line["step"]) for line in whole] == [(0, 0), (0, 1), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert [{**line, "seconds": 0} for line in resumed] == [{**line, "seconds": 0} for line in whole]
    checkpoint = load_checkpoint(str(tmp_path / "out"))
    assert checkpoint.model.num_parameters() == build_model().num_parameters()


def test_the_running_accuracy_counts_guesses_and_keeps_most_of_the_old_mean():
    alone, shares = Tally(("a", "b")), [torch.tensor([True, False, True]), torch.tensor([False, False])]
    for share in shares:
        alone.note("a", share)
    alone.settle()
    assert alone.means == {"a": pytest.approx(2 / 5)}
    alone.note("a", torch.tensor([True]))
    alone.settle()
    assert alone.means["a"] == pytest.approx(0.97 * 2 / 5 + 0.03)


@pytest.mark.timeout(600)
@pytest.mark.every  # a minute of training; the runs that are stopped and resumed train by default
def test_a_smoke_run_sees_the_loss_of_all_three_stages_fall_and_writes_no_model(tmp_path, capsys):
    train.main(["--smoke", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.count("→") == 3
    assert not (tmp_path / "out").exists()


def test_a_smoke_run_in_which_a_loss_does_not_fall_ends_with_an_error():
    falling, still, high = [3.0, 2.0, 1.0, 0.5], [1.0] * 4, [2.5] * 4
    train._check_that_losses_fell([falling, falling, still])  # the last stage goes on where the one before has ended
    for losses, stage in (([still, falling, still], 0), ([falling, still, still], 1), ([falling, falling, high], 2)):
        with pytest.raises(SystemExit, match=f"stage {stage} did not fall"):
            train._check_that_losses_fell(losses)
