"""Memory: what is available, and a limit that is kept and lifted; the same on a GPU where there is one."""

import os

import pytest
import torch

from aim.kernels.refusal import Refusal
from aim.runtime.faults import is_out_of_memory, within_memory
from aim.runtime.memory import available, limit, read_held

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]
MIB = 2**20


def held(device: torch.device) -> int:
    return read_held([device] if device.type == "cuda" else ())


@pytest.mark.parametrize("name", DEVICES)
def test_a_limit_is_kept_and_lifted_whatever_ends_the_block(name):
    device = torch.device(name)
    torch.ones(1, device=device)
    with pytest.raises(RuntimeError) as told, limit(device, held(device) + 64 * MIB):
        torch.ones(1024 * MIB, dtype=torch.uint8, device=device)
    assert is_out_of_memory(told.value)
    with limit(device, None):
        assert len(torch.ones(1024 * MIB, dtype=torch.uint8, device=device)) == 1024 * MIB


@pytest.mark.parametrize("name", DEVICES)
def test_what_is_available_is_what_is_held_and_part_of_what_is_free(name):
    device = torch.device(name)
    assert held(device) < available(device) < (machine_bytes() if name == "cpu" else torch.cuda.get_device_properties(device).total_memory)


def machine_bytes() -> int:
    """The memory of this machine in bytes, as the C library tells it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_run_that_does_not_fit_is_refused_in_words_and_what_is_kept_is_let_go():
    kept = [1]
    with pytest.raises(Refusal, match="does not hold 8 frames.*Use fewer frames"), within_memory("8 frames", kept.clear):
        raise MemoryError
    assert kept == []
    with pytest.raises(KeyError), within_memory("8 frames", kept.clear):
        raise KeyError("x")


@pytest.mark.parametrize("text", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"])
def test_want_of_memory_is_told_by_the_words_of_other_libraries_too(text):
    assert is_out_of_memory(RuntimeError(text)) and not is_out_of_memory(ValueError(text)) and not is_out_of_memory(RuntimeError("shapes"))
