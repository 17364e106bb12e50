"""What leaves the page: one picture and one animation of a run, opened again and looked at."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageSequence

import aim
from aim.runtime.answer import Answer
from aim.views import share, walk
from aim.views.lettering import MISSING
from aim.views.mosaic import most_divided
from aim.views.share import draw_bars, share_picture
from aim.views.shared_words import DIFFERENT, SAME, SharedWords, setting
from aim.views.walk import share_animation
from aim.views.walk import walk as steps_of
from tests.fakes import COST
from tests.made_run import leave_out, make_run

LINK = "https://example.org/?" + "&".join(f"knob{number}=0.{number}" for number in range(60))
RUN = make_run()


def answer_of(run, text: str = "a red circle", seconds: float = 0.2, method=None) -> Answer:
    run.trace.timings = {"llm_prefill": seconds}
    return Answer(text=text, model="a/model", method=method or aim.AIM(l1=3, l2=8), frames=5, trace=run.trace, cost=COST)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_the_words_of_a_picture_say_everything_once():
    full = replace(answer_of(make_run(), "A red circle ", 0.8), method=aim.Full())
    words = SharedWords.of(answer_of(RUN), "Which shape?", full, LINK)
    assert (words.question, words.method, words.answer, words.full_answer) == ("Which shape?", "AIM", "a red circle", "A red circle")
    assert words.verdict == SAME and words.agrees and words.address == LINK and words.unwritten == ""
    assert words.setting == "a/model · 5 frames · merge ratio 0.25 · l1 3 · l2 8"
    assert words.cost == (
        f"140 → {RUN.trace.merged_tokens} tokens · 5.0× fewer FLOPs (2.00 G instead of 10.0 G, modelled) · KV cache 4.0× smaller"
        " · prefill 4.0× faster (measured once)"
    )


def test_a_different_answer_no_answer_and_a_question_that_cannot_be_written_are_told():
    words = SharedWords.of(answer_of(RUN, ""), "\U0010fffe?", answer_of(make_run(), "star"))
    assert words.verdict == DIFFERENT and not words.agrees and words.answer == "(no words)"
    assert words.unwritten.startswith(MISSING)
    only_full = SharedWords.of(answer_of(RUN), "?", answer_of(make_run(), "star \U0010fffe"))
    assert only_full.unwritten.startswith(MISSING)
    alone = SharedWords.of(answer_of(RUN), "?")
    assert alone.full_answer is None and alone.verdict == "" and "measured" not in alone.cost


def test_only_knobs_that_matter_or_were_turned_are_written():
    assert setting(aim.AIM(l1=1, l2=2)) == "merge ratio 0.25 · l1 1 · l2 2"
    assert "damping 0.2" in setting(aim.AIM(l1=1, l2=2, damping=0.2))


@pytest.mark.parametrize(
    "run", [RUN, leave_out(make_run(seed=4)), make_run(frames=1, rows=3, columns=9), make_run(frames=3, rows=9, columns=3)]
)
def test_the_picture_shows_the_frame_as_it_is_as_it_was_merged_and_what_is_left(run):
    picture = opened(share_picture(run, answer_of(run), "Which shape?", answer_of(make_run(), "star"), LINK))
    assert picture.format == "PNG" and picture.width == 1200 and 500 < picture.height < 1800
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    inked = (pixels != 255).any(axis=2)
    assert not inked[:, :30].any() and not inked[:, -30:].any()  # nothing runs out at the sides
    assert inked[-60:].any()


@pytest.mark.parametrize("question", ["why " * 500, "x" * 2000, "متى يظهر المثلث؟ " * 60, "😀🎉三角形\ud800", ""])
def test_any_question_and_answer_leave_a_picture_of_reasonable_size(question):
    data = share_picture(RUN, answer_of(RUN, question), question, answer_of(make_run(), question), LINK)
    assert opened(data).height < 1400 and len(data) < 1_500_000


def test_what_is_shared_of_a_run_depends_on_all_that_it_says():
    base = {"run": RUN, "answer": answer_of(RUN), "question": "which?", "full": answer_of(make_run(), "star"), "address": "https://a"}
    changes = [
        {"question": "when?"},
        {"answer": answer_of(RUN, "blue")},
        {"full": answer_of(make_run(), "blue")},
        {"full": None},
        {"address": "https://b"},
        {"answer": answer_of(RUN, method=aim.AIM(l1=2, l2=8))},
    ]
    seen = [share_picture(**(base | change)) for change in ({}, *changes)]
    assert len(set(seen)) == len(seen)


def test_bars_are_on_the_full_models_scale():
    picture = Image.new("RGB", (900, 100), "white")
    draw_bars(ImageDraw.Draw(picture), (0, 0, 900, 99), RUN.trace)
    blue = (np.asarray(picture) == share.BAR).all(axis=2)
    for layer, (visual, _) in enumerate(RUN.trace.tokens_per_layer):
        column = blue[:, 100 * layer + 50]
        assert column.sum() == pytest.approx(99 * visual / RUN.trace.visual_tokens, abs=2)


def test_the_walk_has_one_step_for_every_stretch_of_equal_layers():
    told = [(step.view, step.layers) for step in steps_of(RUN.trace)]
    expected, alive = [], [len(tokens) for tokens in RUN.trace.survivors]
    for layer, count in enumerate(alive):
        if layer and count == alive[layer - 1]:
            expected[-1] = range(expected[-1].start, layer + 1)
        else:
            expected.append(range(layer, layer + 1))
    assert told == [(None, range(0)), ("Merged regions", range(0)), *(("Survival", layers) for layers in expected)]
    assert steps_of(RUN.trace)[-1].told == "Layers 7 to 8 see no visual token; by then the text has absorbed them"


def test_a_deep_model_is_walked_in_thirty_steps_of_layers_that_end_with_the_last():
    run = make_run(frames=2, rows=20, columns=20, kept=tuple(np.linspace(1, 0.02, 64)))
    steps = steps_of(run.trace)
    assert len(steps) == 32 and steps[-1].layers.stop == 64


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_the_animation_repeats_and_has_a_picture_a_step(kind):
    data = share_animation(RUN, answer_of(RUN), "Which shape?", answer_of(make_run(), "star"), LINK, kind)
    movie, steps = opened(data), steps_of(RUN.trace)
    assert movie.format == kind and movie.n_frames == len(steps) and movie.info["loop"] == 0 and len(data) < 2_000_000
    pictures = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(movie)]
    assert movie.width == 640
    assert all(np.abs(one - other).max() > 60 for one, other in zip(pictures, pictures[1:], strict=False))
    head = [picture[:60, :] for picture in pictures]
    assert all(np.abs(part - head[0]).mean() < 4 for part in head)  # the question stays


def test_an_animation_too_large_is_made_smaller_and_at_last_refused():
    noisy = make_run(frames=2, kept=(1, 0.5))
    noisy.frames = np.random.default_rng(0).integers(0, 256, (2, 90, 320, 3), dtype=np.uint8)
    asked = {"run": noisy, "answer": answer_of(noisy), "question": "?"}
    usual = share_animation(**asked)
    small = share_animation(**asked, largest=len(usual) // 3)
    assert len(small) <= len(usual) // 3 and opened(small).width <= 640
    with pytest.raises(ValueError, match="at its smallest, and 100 were allowed"):
        share_animation(**asked, largest=100)


def test_many_frames_are_thinned_and_the_most_divided_is_among_them():
    run = make_run(frames=40, window=1)
    stack, columns = walk._stack(run, 600)
    assert len(stack.shown) == 8 and columns == 4
    assert most_divided(run.trace, run.colours) in stack.shown.tolist()


def test_what_is_not_finished_or_of_another_kind_is_refused():
    unfinished = replace(answer_of(RUN), trace=None)
    for shared in (share_picture, share_animation):
        with pytest.raises(ValueError, match="not finished"):
            shared(RUN, unfinished, "?")
    with pytest.raises(ValueError, match='"MP4"; "WEBP" and "GIF"'):
        share_animation(RUN, answer_of(RUN), "?", kind="MP4")


def test_a_run_without_dropping_is_shared_too():
    run = make_run()
    run.trace.survivors = [torch.arange(run.trace.merged_tokens)] * 9
    run.trace.tokens_per_layer = [(run.trace.merged_tokens, 9)] * 9
    run.trace.scores = [None] * 9
    assert [step.told for step in steps_of(run.trace)][-1].startswith("Layers 0 to 8 see")
    assert opened(share_picture(run, answer_of(run), "?")).width == 1200
