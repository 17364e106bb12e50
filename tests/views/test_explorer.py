"""The explorer's payload says what the trace says: decoded here in another way than the browser's, and compared."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from aim.kernels.trace import Trace
from aim.views.explorer import payload
from tests.made_run import absorb, last_layers, leave_out, make_run


def unpack(packed: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), np.dtype(packed["dtype"]).newbyteorder("<"))


def picture(value: dict) -> np.ndarray:
    data = value["picture"]["data"].removeprefix("data:image/jpeg;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def value_of(run, **options) -> dict:
    return json.loads(json.dumps(payload(run.frames, run.timestamps, run.trace, **options)))


def test_every_patch_leads_to_its_token_and_every_token_to_its_last_layer():
    run = make_run()
    value = value_of(run)
    assert (value["frames"], value["rows"], value["columns"], value["layers"]) == (5, 4, 7, 9)
    assert unpack(value["assignment"]).reshape(5, 28).tolist() == run.trace.assignment.tolist()
    assert dict(enumerate(unpack(value["last_layer"]))) == last_layers(run.trace)
    assert value["times"] == [0.25, 0.75, 1.25, 1.75, 2.25]


def test_scores_come_back_within_a_thousandth():
    run = make_run(seed=1)
    value = value_of(run)
    assert [score is not None for score in value["scores"]] == [scores is not None for scores in run.trace.scores]
    assert sum(score is not None for score in value["scores"]) >= 4
    last = unpack(value["last_layer"])
    for layer, packed in enumerate(value["scores"]):
        if packed is None:
            continue
        fractions = unpack(packed["levels"]) / 65535
        decoded = dict(zip(np.flatnonzero(last >= layer), packed["low"] * (packed["high"] / packed["low"]) ** fractions, strict=True))
        truth = dict(zip(run.trace.survivors[layer].tolist(), run.trace.scores[layer].tolist(), strict=True))
        assert decoded.keys() == truth.keys()
        assert all(decoded[token] == pytest.approx(truth[token], rel=1e-3) for token in truth)
        assert not packed["clipped"]


def test_scores_too_small_for_the_scale_count_as_its_lower_end_and_say_so():
    run = make_run()
    scored = next(layer for layer, scores in enumerate(run.trace.scores) if scores is not None)
    run.trace.scores[scored][:2] = torch.tensor([0.0, 1e-30])
    packed = value_of(run)["scores"][scored]
    assert packed["clipped"] and packed["low"] == pytest.approx(packed["high"] / 1e8)
    assert unpack(packed["levels"])[:2].tolist() == [0, 0]


def test_equal_scores_are_all_at_the_top_of_the_scale():
    run = make_run()
    scored = next(layer for layer, scores in enumerate(run.trace.scores) if scores is not None)
    run.trace.scores[scored][:] = 0.25
    packed = value_of(run)["scores"][scored]
    assert packed["low"] == packed["high"] == 0.25 and set(unpack(packed["levels"])) == {65535}


def test_a_tokens_colour_is_the_mean_of_its_patches_in_all_frames():
    run = make_run(seed=2)
    colours = unpack(value_of(run)["group_colours"]).reshape(-1, 3)
    for token in range(run.trace.merged_tokens):
        frame, patch = np.nonzero(run.trace.assignment.numpy() == token)
        expected = run.colours.reshape(5, 28, 3)[frame, patch].mean(axis=0)
        assert np.abs(colours[token] - expected).max() <= 1


def test_every_frame_is_where_the_picture_says():
    run = make_run(frames=19)
    value = value_of(run)
    sheet, place = picture(value), value["picture"]
    for index, frame in enumerate(run.frames):
        left, top = index % place["columns"] * place["width"], index // place["columns"] * place["height"]
        shown = sheet[top : top + place["height"], left : left + place["width"]].astype(int)
        assert shown.shape == frame.shape
        assert np.abs(shown - frame).mean() < 6


def test_large_and_many_frames_are_shrunk_to_the_budget_in_proportion():
    run = make_run(frames=64)
    run.frames = np.broadcast_to(np.uint8(128), (64, 270, 480, 3))
    for budget in (2_000_000, 400_000):
        place = value_of(run, picture_pixels=budget)["picture"]
        assert 0.8 * budget < 64 * place["width"] * place["height"] <= budget
        assert place["width"] / place["height"] == pytest.approx(16 / 9, rel=0.02)


def test_sixty_four_frames_of_a_large_grid_with_every_layer_scored_stay_below_three_megabytes():
    run = make_run(frames=64, rows=27, columns=27, window=1, kept=(1,) * 14 + tuple(np.linspace(0.95, 0, 14)))
    run.trace.scores = [torch.rand(len(alive)) if len(alive) else None for alive in run.trace.survivors]
    assert len(json.dumps(payload(run.frames, run.timestamps, run.trace))) < 3_000_000


def test_more_tokens_than_sixteen_bits_count_keep_their_numbers():
    frames, patches = 2, 40_000
    count = frames * patches
    trace = Trace(
        num_layers=1,
        frames=frames,
        rows=200,
        columns=200,
        tokens_per_layer=[(count, 1)],
        assignment=torch.arange(count).view(frames, patches),
        group_sizes=torch.ones(count, dtype=torch.long),
        survivors=[torch.arange(count)],
        scores=[None],
    )
    value = payload(np.zeros((2, 200, 200, 3), np.uint8), np.zeros(2), trace)
    assert (unpack(value["assignment"]) == np.arange(count)).all()


def test_frames_joined_in_time_show_the_first_they_stand_for():
    run = make_run(frames=2)
    frames = np.repeat(run.frames, 2, axis=0)
    frames[1::2] = 255
    value = json.loads(json.dumps(payload(frames, np.arange(4.0), run.trace)))
    assert value["times"] == [0, 2]
    assert picture(value).mean() < 180


def test_a_picture_that_is_not_wanted_leaves_its_size_and_all_the_rest():
    run = make_run()
    whole, live = value_of(run), value_of(run, picture=False)
    assert live["picture"] == whole["picture"] | {"data": None}
    assert {**live, "picture": None} == {**whole, "picture": None}
    assert len(json.dumps(live)) < 10_000 < len(json.dumps(whole))


def test_patches_of_no_token_are_told_and_every_token_has_its_place():
    run = leave_out(make_run(seed=4))
    value = value_of(run)
    assert unpack(value["assignment"]).tolist() == run.trace.assignment.flatten().tolist() and -1 in unpack(value["assignment"])
    assert unpack(value["anchors"]).tolist() == run.trace.anchors.tolist()
    assert len(unpack(value["last_layer"])) == run.trace.merged_tokens


def test_who_holds_whom_is_told_where_tokens_were_merged_inside_the_model_and_nowhere_else():
    run = absorb(make_run())
    told = value_of(run)["holders"]
    assert {int(layer): unpack(held).tolist() for layer, held in told.items()} == {
        layer: held.tolist() for layer, held in run.trace.holders.items()
    }
    assert "holders" not in value_of(make_run())


def test_what_does_not_fit_together_is_refused():
    run = make_run()
    with pytest.raises(ValueError, match="finished run"):
        payload(run.frames, run.timestamps, Trace())
    with pytest.raises(ValueError, match="4 frames, 5 timestamps and a trace of 5 frames"):
        payload(run.frames[:4], run.timestamps, run.trace)
