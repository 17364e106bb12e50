"""Stage times are those of the GPU that did the work, whichever GPU is current in the thread."""

import pytest
import torch

import aim
from aim.engine.timing import Stopwatch
from tests.gpus import GPUS, PretendedGpus
from tests.pretend import HERE, THERE, TwoDevices, shard
from tests.tiny import clip_inputs, llava_onevision


@pytest.fixture
def gpus(monkeypatch):
    return PretendedGpus(monkeypatch)


@pytest.mark.parametrize("current", GPUS, ids=str)
@pytest.mark.parametrize("device", GPUS, ids=str)
def test_a_stage_takes_as_long_as_its_own_gpu_worked_on_it(gpus, device, current):
    other = GPUS[1 - device.index]
    with torch.cuda.device(current):
        watch = Stopwatch(device)
        gpus.work(device, 2.0)  # handed over before, and so no part of the stage
        with watch.measure("merge"):
            gpus.work(device, 3.0)
            gpus.work(other, 40.0)
        gpus.work(other, 40.0)
        start = watch.now()
        gpus.work(device, 0.5)
        watch.add("llm_prefill", start)
        gpus.work(device, 0.25)
        with watch.measure("merge"):
            gpus.work(device, 1.0)
        assert watch.seconds() == {"merge": 4.0, "llm_prefill": 0.5}


@pytest.mark.parametrize("device", GPUS, ids=str)
def test_reading_the_times_waits_for_the_last_stage_and_for_no_other_gpu(gpus, device):
    watch = Stopwatch(device)
    with watch.measure("merge"):
        gpus.work(device, 3.0)
    gpus.work(GPUS[1 - device.index], 40.0)
    watch.seconds()
    assert gpus.host == 3.0


def test_nothing_waits_for_a_gpu_before_the_times_are_read(gpus):
    watch = Stopwatch(GPUS[1])
    with watch.measure("merge"):
        gpus.work(GPUS[1], 3.0)
    assert gpus.host == 0.0


def test_a_stage_on_another_gpu_of_a_spread_model_is_timed_there(gpus):
    watch = Stopwatch(GPUS[0])
    start = watch.now()
    gpus.work(GPUS[0], 1.0)
    gpus.host = 1.0  # the second GPU begins when the first one has done its layers
    gpus.work(GPUS[1], 2.0)
    with watch.measure("importance", GPUS[1]):
        gpus.work(GPUS[1], 4.0)
    watch.wait(GPUS[1])
    watch.add("llm_prefill", start)
    assert watch.seconds() == {"importance": 4.0, "llm_prefill": 7.0}


def test_a_stopwatch_of_the_cpu_waits_for_a_gpu_that_ended_the_work(gpus):
    gpus.work(GPUS[1], 3.0)
    Stopwatch(HERE).wait(GPUS[1])
    assert gpus.host == 3.0


def test_scores_are_timed_on_the_device_of_their_layer(monkeypatch):
    timed, measure = [], Stopwatch.measure

    def noting(watch, name, *device):
        timed.append((name, *map(str, device)))
        return measure(watch, name, *device)

    monkeypatch.setattr(Stopwatch, "measure", noting)
    model = llava_onevision()
    shard(model, 4)
    with TwoDevices(), torch.no_grad(), aim.reduce(model, aim.Full(), scores="all"):
        model(**clip_inputs())
    scored = [device for name, *device in timed if name == "inspection"]
    assert scored == 4 * [[str(HERE)]] + 2 * [[str(THERE)]]
