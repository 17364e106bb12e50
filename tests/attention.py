"""Random queries and keys, and what is held in memory and waited for while importance is computed on them."""

from __future__ import annotations

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


def random_attention(heads: int = 6, key_heads: int = 2, n: int = 11, d: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(heads, n, d, generator=generator), torch.randn(key_heads, n, d, generator=generator)


class Memory(TorchDispatchMode):
    """The most bytes that tensors made inside held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak, self.held = 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        given = {tensor.untyped_storage().data_ptr() for tensor in args if isinstance(tensor, torch.Tensor)}
        if isinstance(output, torch.Tensor) and output.untyped_storage().data_ptr() not in given:
            storage = output.untyped_storage()
            self.held[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self.held = {address: entry for address, entry in self.held.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.held.values()))
        return output


class Waits(TorchDispatchMode):
    """How often a value is read back from the device: each time, a GPU would be waited for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default)
        return function(*args, **(kwargs or {}))
