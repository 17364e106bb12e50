"""Where PageRank goes in tiles, and that it goes without them where Triton does not work."""

from __future__ import annotations

import sys

import pytest
import torch

from aim.kernels import tiles


class OnGpu:
    """A query that says it lies on a GPU."""

    device = torch.device("cuda", 0)

    def __init__(self, dtype=torch.bfloat16, width=128):
        self.dtype, self.shape = dtype, (4, 10, width)


@pytest.fixture(autouse=True)
def tried_anew():
    tiles._working.cache_clear()
    yield
    tiles._working.cache_clear()


def test_a_cpu_has_no_tiles():
    assert tiles.tiles_for(torch.ones(1, 2, 16, dtype=torch.float16)) is None


@pytest.mark.parametrize("query", [OnGpu(dtype=torch.float32), OnGpu(width=512)], ids=["float32", "a head of 512"])
def test_what_the_kernels_do_not_take_is_not_tried(query, monkeypatch):
    monkeypatch.setattr(tiles, "_working", lambda device: pytest.fail("tried"))
    assert tiles.tiles_for(query) is None


def test_without_a_triton_that_works_it_goes_another_way_and_the_log_says_why_once(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setitem(sys.modules, "aim.kernels.pagerank_tiles", None)  # importing it fails
    assert tiles.tiles_for(OnGpu()) is None
    assert tiles.tiles_for(OnGpu()) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "Triton does not work on cuda:0" in caplog.text


def test_a_gpu_older_than_the_kernels_is_not_tried(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert tiles.tiles_for(OnGpu()) is None and not caplog.records
