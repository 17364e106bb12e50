"""Whatever GPU a model lies on is the current one while it runs, in the thread of a generation too."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import aim
from aim.engine.next_logits import NextLogits
from aim.families import Encoded
from aim.runtime.generation import Generation, TimedStreamer
from aim.runtime.gpus import gpus_of, wait_for
from aim.runtime.vlm import VLM
from tests.fakes import make_clip
from tests.gpus import GPUS, PretendedGpus
from tests.tiny import llava_onevision


@pytest.fixture
def gpus(monkeypatch):
    return PretendedGpus(monkeypatch)


@pytest.mark.parametrize("device", GPUS, ids=str)
def test_generate_runs_under_the_models_gpu_and_leaves_the_callers_alone(gpus, device, monkeypatch):
    model, seen = llava_onevision(), []
    monkeypatch.setattr(type(model), "device", device)
    monkeypatch.setattr(model, "generate", lambda **_arguments: seen.append(gpus.current()), raising=False)
    streamer = TimedStreamer(SimpleNamespace(), timeout=30)
    worker = Generation(model, aim.Full(), "pruning", {}, streamer, lambda: False, NextLogits())
    worker.start()
    worker.join(30)
    assert worker.error is None and seen == [device.index]
    assert gpus.current() == 0


@pytest.mark.parametrize("device", GPUS, ids=str)
def test_the_vision_tower_runs_under_the_models_gpu(gpus, device, monkeypatch):
    vlm, seen = aim.load("bundled"), []

    def encode(_model, _pixels):
        seen.append(gpus.current())
        return made

    clip = make_clip(1)
    made = Encoded({}, {}, vlm.grid(len(clip.frames), *clip.frames.shape[1:3]))
    vlm = VLM(replace(vlm.checkpoint, family=replace(vlm.checkpoint.family, encode=encode)))
    monkeypatch.setattr(type(vlm.model), "device", device)
    vlm.encode(clip.frames)
    with vlm.encoded(clip):
        assert gpus.current() == device.index  # a measurement runs the model inside the block
    assert gpus.current() == 0
    assert seen == 2 * [device.index]


def test_the_gpus_of_a_model_are_those_that_hold_its_weights(gpus):
    places = [GPUS[1], torch.device("cpu"), GPUS[0], torch.device("meta"), GPUS[1]]
    spread = SimpleNamespace(parameters=lambda: [SimpleNamespace(device=place) for place in places])
    assert gpus_of(spread) == GPUS and gpus_of(llava_onevision()) == []


def test_waiting_for_gpus_waits_for_each_of_them(gpus):
    gpus.work(GPUS[0], 2.0)
    gpus.work(GPUS[1], 3.0)
    wait_for(GPUS[:1])
    assert gpus.host == 2.0
    wait_for(GPUS)
    assert gpus.host == 3.0
