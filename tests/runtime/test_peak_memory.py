"""The peak of a run is that run's, and none where the counter could not be set back."""

import pytest
import torch

import aim
from aim.bench.measure import run_once
from aim.bench.variants import variants_of
from aim.bench.workload import workload
from aim.runtime import memory
from tests.fakes import make_clip
from tests.gpus import GPUS
from tests.tiny import llava_onevision

QUESTION = "what colour is the circle?"
PICTURES = {"size": {"height": 40, "width": 40}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
MIB = 2**20


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


def test_a_run_whose_counter_could_not_be_set_back_has_no_peak(vlm, monkeypatch, tmp_path):
    assert vlm.ask(make_clip(1), QUESTION, max_new_tokens=1).trace.peak_memory_bytes > 0
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no folder" / "clear_refs")
    answer = vlm.ask(make_clip(1), QUESTION, max_new_tokens=1)
    assert answer.text and answer.trace.peak_memory_bytes is None


def test_a_later_peak_forgets_an_earlier_one():
    first = memory.Peak()
    held = memory.read_held()
    large = torch.ones(128 * MIB, dtype=torch.uint8)
    assert first.read() >= held + 100 * MIB
    del large
    second = memory.Peak()
    assert second.read() < held + 64 * MIB


def test_the_peak_of_a_process_is_read_where_linux_writes_it(monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("VmPeak:\t900 kB\nVmHWM:\t300 kB\nVmRSS:\t200 kB\n")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", status)
    assert memory.Peak().read() == 300 * 1024 and memory.read_held() == 200 * 1024
    status.unlink()
    assert memory.Peak().read() is None and memory.read_held() is None


@pytest.fixture
def counters(monkeypatch):
    """Each GPU's counter: what its tensors hold now, and held at most since it was set back."""
    held, most = {GPUS[0]: 3 * MIB, GPUS[1]: 5 * MIB}, {GPUS[0]: 900 * MIB, GPUS[1]: 800 * MIB}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda gpu: most.update({gpu: held[gpu]}))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda gpu: most[gpu])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda gpu: held[gpu])
    return most


@pytest.mark.parametrize(("gpus", "held", "most"), [(GPUS[:1], 3, 10), (GPUS[1:], 5, 20), (GPUS, 8, 30)], ids=["first", "second", "both"])
def test_the_peak_of_several_gpus_is_the_sum_of_each_ones(counters, gpus, held, most):
    peak = memory.Peak(gpus)
    assert memory.read_held(gpus) == held * MIB == peak.read()
    counters.update({GPUS[0]: 10 * MIB, GPUS[1]: 20 * MIB})
    assert peak.read() == most * MIB


def test_an_allocator_that_keeps_no_count_gives_no_peak(counters, monkeypatch):
    def refuse(_gpu):
        raise RuntimeError("CUDAPluggableAllocator does not yet support resetPeakStats.")

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", refuse)
    assert memory.Peak(GPUS).read() is None


def test_a_benchmark_whose_counter_could_not_be_set_back_has_no_peak(monkeypatch, tmp_path):
    model = llava_onevision(vocab_size=120)
    method = aim.AIM(merge_ratio=0.25, l1=2, l2=5)
    work, variant = workload(model, PICTURES, 2, 20), variants_of(["aim"], [method], 6)["aim"]
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no folder" / "clear_refs")
    run = run_once(model, variant, work, 2)
    assert run.peak_bytes is None and run.working_bytes is None and run.held_bytes > 0
