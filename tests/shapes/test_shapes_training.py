"""Training of the bundled model: a packed row is many single prompts, the targets are what was drawn, and a run can stop and go on."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from aim.runtime.checkpoints import load_checkpoint
from aim.shapes import answer_stage, train, vision_stage
from aim.shapes.drawing import owner_of_tokens, render, render_masks
from aim.shapes.model import GRID, TOKENS_PER_FRAME, build_model, build_tokenizer
from aim.shapes.packing import NO_LABEL, pack, packed_forward, to_pixels, use_packed_attention, visual_embeddings
from aim.shapes.questions import Question, ask_about
from aim.shapes.scenes import COLOURS, DIRECTIONS, frame_times
from aim.shapes.world import make_scene

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
        packed, _ = packed_forward(model, batch, visual_embeddings(model, pixels))
    torch.testing.assert_close(packed, torch.cat(alone), atol=2e-4, rtol=1e-4)
    assert (batch.types >= 0).sum() == 10
    assert (batch.labels != NO_LABEL).sum() == 20


def test_the_patches_read_halfway_are_those_a_hook_on_that_layer_sees(packed_rows):
    model, _, _, pixels, batch = packed_rows
    use_packed_attention(model)
    seen = []
    model.model.language_model.layers[4].register_forward_hook(lambda _module, _arguments, output: seen.append(output))
    with torch.no_grad():
        visual = visual_embeddings(model, pixels)
        _, tokens = packed_forward(model, batch, visual, layers=5)
        _, first = packed_forward(model, batch, visual, layers=0)
    torch.testing.assert_close(tokens, seen[0][:, 2 : 2 + PLACEHOLDERS - 1])
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
        told = answer_stage.so_far(scene, times, owners).reshape(*owners.shape, -1)
        assert (told[owners < 0] == NO_LABEL).all()
        for frame, token in zip(*np.nonzero(owners >= 0), strict=True):
            item = scene.items[owners[frame, token]]
            way, former, late, grows, extreme = told[frame, token]
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
    for progress, (_, shares) in zip((0.0, 0.2, 0.5, 0.99), answer_stage.CURRICULUM, strict=True):
        counts = Counter(answer_stage.frames_of_step(progress, value) for value in luck)
        assert {frames: count / 1000 for frames, count in counts.items()} == pytest.approx(shares, abs=0.002)


def test_training_runs_from_scratch_stops_resumes_and_writes_a_loadable_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(vision_stage, "FRAMES_PER_STEP", 6)
    monkeypatch.setattr(answer_stage, "CLIPS_PER_STEP", dict.fromkeys(answer_stage.CLIPS_PER_STEP, 2))
    options = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--vision-steps", "2", "--processes", "1", "--no-bfloat16"]
    train.main([*options, "--steps", "1"])
    train.main([*options, "--steps", "3"])
    lines = [json.loads(line) for line in (tmp_path / "out" / "training.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [(0, 0), (0, 1), (1, 0), (1, 2)]
    checkpoint = load_checkpoint(str(tmp_path / "out"))
    assert checkpoint.model.num_parameters() == build_model().num_parameters()


@pytest.mark.long
def test_a_smoke_run_sees_the_loss_of_both_stages_fall_and_writes_no_model(tmp_path, capsys):
    train.main(["--smoke", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.count("→") == 2
    assert not (tmp_path / "out").exists()


def test_a_smoke_run_in_which_a_loss_does_not_fall_ends_with_an_error():
    train._check_that_losses_fell([[3.0, 2.0, 1.0, 0.5], [3.0, 2.0, 1.0, 0.5]])
    with pytest.raises(SystemExit, match="stage 1 did not fall"):
        train._check_that_losses_fell([[3.0, 2.0, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]])
