"""Memory limits on CUDA, with the calls to its allocator noted in place of a device."""

import pytest
import torch

from aim.runtime.faults import is_out_of_memory
from aim.runtime.memory import available, limit

GIB = 2**30


@pytest.fixture
def fractions(monkeypatch):
    noted = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device=None: (60 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device=None: 10 * GIB)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, number: noted.append((share, number)))
    return noted


@pytest.mark.parametrize(("name", "number"), [("cuda", 3), ("cuda:1", 1)])
def test_the_limit_is_a_share_of_the_device_by_number_and_is_lifted_again(fractions, name, number):
    with pytest.raises(KeyError), limit(torch.device(name), 20 * GIB):
        raise KeyError
    assert fractions == [(0.25, number), (1.0, number)]


def test_no_limit_touches_nothing_and_one_above_the_device_is_the_device(fractions):
    with limit(torch.device("cuda"), None):
        pass
    assert fractions == []
    with limit(torch.device("cuda"), 100 * GIB):
        pass
    assert fractions[0] == (1.0, 3)


def test_what_is_available_is_what_is_held_and_most_of_what_is_free(fractions):
    assert available(torch.device("cuda")) == 10 * GIB + int(0.9 * 60 * GIB)


@pytest.mark.parametrize("text", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"])
def test_want_of_memory_is_told_by_the_words_of_other_libraries_too(text):
    assert is_out_of_memory(RuntimeError(text)) and not is_out_of_memory(ValueError(text)) and not is_out_of_memory(RuntimeError("shapes"))
