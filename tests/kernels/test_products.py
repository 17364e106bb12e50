"""The precision of products: during a run, beside other runs, and as it was after them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from aim.kernels import products
from aim.kernels.products import FASTER_WITH, exact_products, faster_products

CPUINFO = Path("/proc/cpuinfo")


def settings() -> list[str]:
    """All that torch changes with the precision."""
    backends = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    return [torch.get_float32_matmul_precision(), *[getattr(backend, "fp32_precision", "") for backend in backends]]


@pytest.fixture
def amx(monkeypatch):
    monkeypatch.setattr(products, "FASTER_WITH", {"AMX": lambda: True})


@pytest.fixture(autouse=True)
def as_before():
    before = settings()
    yield
    assert settings() == before


@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux tells what its processor has")
def test_amx_is_not_found_where_the_processor_has_none():
    assert FASTER_WITH["AMX"]() in (False, "amx_bf16" in CPUINFO.read_text())


@pytest.mark.parametrize(("told", "found"), [({"amx_tile": True, "amx_bf16": True}, True), ({"amx_tile": True}, False), ({}, False)])
def test_amx_is_what_torch_tells_of_the_processor(monkeypatch, told, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert FASTER_WITH["AMX"]() is found
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert FASTER_WITH["AMX"]() is False


def test_a_torch_that_does_not_tell_counts_as_without(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert FASTER_WITH["AMX"]() is False


def test_nothing_is_set_on_a_processor_that_gains_nothing():
    with faster_products():
        assert torch.get_float32_matmul_precision() == "highest"


def test_the_precision_is_put_back_after_an_error_too(amx):
    before = settings()
    with pytest.raises(ZeroDivisionError), faster_products():
        assert torch.get_float32_matmul_precision() == "medium"
        raise ZeroDivisionError
    assert settings() == before


def test_exact_products_win_inside_and_around(amx):
    with faster_products():
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
            with faster_products():
                assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"


def test_runs_that_overlap_in_threads_leave_the_precision_as_it_was(amx):
    before, seen = settings(), []
    entered, left = threading.Event(), threading.Event()

    def second():
        with faster_products():
            entered.set()
            left.wait(30)
            seen.append(torch.get_float32_matmul_precision())

    thread = threading.Thread(target=second)
    with faster_products():
        thread.start()
        assert entered.wait(30)
    assert torch.get_float32_matmul_precision() == "medium"  # the second run goes on
    left.set()
    thread.join()
    assert seen == ["medium"] and settings() == before


def test_many_threads_at_once_leave_the_precision_as_it_was(amx):
    before = settings()

    def run():
        for _ in range(50):
            with faster_products(), exact_products():
                pass

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settings() == before


@pytest.mark.parametrize("own", ["high", "medium"])
def test_a_precision_that_somebody_has_set_stays(amx, own: str):
    backends = products._backends()
    before = [backend.fp32_precision for backend in backends]
    torch.set_float32_matmul_precision(own)
    try:
        chosen = settings()
        with faster_products(), exact_products():
            assert settings() == chosen
        assert settings() == chosen
    finally:
        torch.set_float32_matmul_precision("highest")
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value
