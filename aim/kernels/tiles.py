"""Whether a GPU runs the Triton kernels of `aim.kernels.pagerank_tiles`. It is tried once for each GPU, on two tokens."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
WIDEST = 256  # of a head: a tile's queries and keys have to fit into the memory of a multiprocessor
OLDEST = (8, 0)  # compute capability: Ampere, from which on tensor cores multiply bfloat16
log = logging.getLogger(__name__)


def tiles_for(query: Tensor) -> ModuleType | None:
    """`aim.kernels.pagerank_tiles` where it works for queries [H, n, d] of this dtype, width and device, else None."""
    if query.device.type != "cuda" or query.dtype not in HALF or query.shape[-1] > WIDEST:
        return None
    return _working(query.device)


@cache
def _working(device: torch.device) -> ModuleType | None:
    """The module, once its kernels have run on this GPU."""
    if torch.version.hip is not None or torch.cuda.get_device_capability(device) < OLDEST:
        return None
    try:
        from aim.kernels import pagerank_tiles

        some = torch.ones(1, 2, 16, dtype=torch.float16, device=device)
        pagerank_tiles.walk_in_tiles(some, some, 1.0, 1, 0.0, torch.full((2,), 0.5, device=device))
    except Exception as error:  # whatever Triton lacks, such as a C compiler: the other way gives the same numbers
        log.warning("Triton does not work on %s, so PageRank takes more time there: %s", device, error)
        return None
    return pagerank_tiles
