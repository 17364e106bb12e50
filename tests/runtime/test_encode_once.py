"""A clip is decoded and encoded once: whatever knob or question changes, neither the reader nor the vision tower is called again."""

import pytest
import torch

import aim
from aim.families.batches import watching
from aim.methods import METHODS
from aim.runtime.compare import compare
from aim.runtime.features import tells_attention
from aim.shapes.model import build_model, save
from aim.ui.gpu import placed
from aim.ui.handlers import answer
from aim.ui.request import Request
from aim.ui.stop import StopSignal
from aim.video.clip import read_video
from tests.visitor import EXAMPLES, examples

KNOBS = [
    {},
    {"question": "how many shapes are there?"},
    {"merge_ratio": 0.5},
    {"l1": 2, "l2": 5},
    {"positions": "original"},
    {"temperature": 0.5, "iterations": 2},
    {"damping": 0.2, "restart": "question"},
    {"merge_window": 2},
    {"max_new_tokens": 3},
    {"score_every_layer": True},
    {"compare": True},
]


@pytest.fixture
def vlm(tmp_path):
    torch.manual_seed(0)
    save(build_model(), tmp_path)
    return aim.load(str(tmp_path), device="cpu")


@pytest.fixture
def encoded(vlm):
    """Frames the vision tower got, one entry a pass."""
    passes = []
    tower = vlm.model.model.vision_tower
    hook = tower.register_forward_pre_hook(lambda _module, args, kwargs: passes.append(1), with_kwargs=True)
    yield passes
    hook.remove()


class Reader:
    """`read_video`, with its calls counted."""

    def __init__(self):
        self.calls = []

    def __call__(self, path, num_frames, stop=None):
        self.calls.append((path, num_frames))
        return read_video(path, num_frames)


def test_no_knob_and_no_question_on_the_page_decodes_or_encodes_again(vlm, encoded):
    base = {"video": str(EXAMPLES / examples()[0]["file"]), "question": "what colour is the circle?", "num_frames": 4}
    base |= {"merge_ratio": 0.25, "l1": 6, "l2": 9, "max_new_tokens": 1}
    model, read = placed(vlm), Reader()
    for changes in KNOBS:
        *_, last = answer(model, Request.of(**base | changes), StopSignal(), read)
        assert last.run.answer.new_tokens
        assert len(encoded) == len(read.calls) == 1, changes
    answered = list(answer(model, Request.of(**base | {"num_frames": 2}), StopSignal(), read))
    assert answered and len(encoded) == len(read.calls) == 2  # other frames are another clip


@pytest.mark.long
def test_no_method_encodes_again_and_an_equal_clip_is_the_same_clip(vlm, encoded):
    file, vlm.features.watched = EXAMPLES / examples()[0]["file"], True
    for name in METHODS:
        clip = read_video(file, 4)  # read anew: what counts is the content
        answer = vlm.ask(clip, "what colour is the circle?", METHODS[name](), max_new_tokens=1)
        assert answer.features_reused == (name != next(iter(METHODS))) == ("vision_tower" not in answer.timings)
    assert len(encoded) == 1
    vlm.ask(read_video(EXAMPLES / examples()[1]["file"], 4), "what colour is the circle?", max_new_tokens=1)
    assert len(encoded) == 2


def test_the_towers_attention_is_recorded_from_the_first_method_on_that_reads_it(vlm, encoded):
    file, question = EXAMPLES / examples()[0]["file"], "what colour is the circle?"
    clip, other, third = (read_video(file, frames) for frames in (1, 2, 3))

    def recorded(clip) -> bool:
        return tells_attention(vlm.features.of(clip)[0])

    vlm.ask(clip, question, aim.AIM(), max_new_tokens=1)
    assert not recorded(clip) and len(encoded) == 1
    watched, lone = (vlm.ask(clip, question, method, max_new_tokens=1) for method in (METHODS["visionzip"](), aim.AIM()))
    assert not watched.features_reused and lone.features_reused and recorded(clip) and len(encoded) == 2
    with vlm.encoded(other, watched=False):
        assert recorded(other) and len(encoded) == 3
    vlm.features.watched = False
    *_, compared = compare(vlm, third, question, ["visionzip", "aim"], max_new_tokens=1, rounds=1)
    assert compared.complete and len(compared.runs) == 3 and len(encoded) == 4


def test_features_are_those_of_a_watched_tower(vlm):
    frames = read_video(EXAMPLES / examples()[0]["file"], 2).frames
    with_it = vlm.encode(frames)
    with watching(False):
        without = vlm.encode(frames)
    assert tells_attention(with_it) and not tells_attention(without)
    assert torch.equal(with_it.features["video"].pooler_output, without.features["video"].pooler_output)


def test_only_the_last_tokens_logits_are_computed_at_the_prefill(vlm):
    lengths = []
    hook = vlm.model.lm_head.register_forward_pre_hook(lambda _module, args: lengths.append(args[0].shape[1]))
    vlm.ask(read_video(EXAMPLES / examples()[0]["file"], 4), "what colour is the circle?", max_new_tokens=3)
    hook.remove()
    assert lengths == [1, 1, 1]
