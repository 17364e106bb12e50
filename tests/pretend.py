"""A second device where there is none: tensors that say they lie on "cpu:1", and refuse to meet those on "cpu" in one operation.

Arithmetic is the CPU's; only the rule of real devices is enforced, that operands must lie together (single numbers and CPU indices apart).
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

HERE, THERE = torch.device("cpu"), torch.device("cpu", 1)
INDEXED = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default}


class Placed(torch.Tensor):
    """A tensor on `THERE`."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=THERE
        )

    def __init__(self, inner: torch.Tensor):
        self.inner = inner

    def tolist(self):
        return self.inner.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {})


class TwoDevices(TorchDispatchMode):
    """For as long as it lasts, new tensors may be asked for on `THERE`."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {})


def dispatch(function, args, kwargs):
    places = set()

    def note(value):
        if isinstance(value, torch.Tensor) and value.dim() and value.numel():  # nothing lies nowhere
            places.add(THERE if isinstance(value, Placed) else HERE)
        return value

    # An index may lie on the CPU wherever the tensor is, but not the other way round.
    tree_map(note, args[:1] if function in INDEXED and isinstance(args[0], Placed) else (args, kwargs))
    asked = kwargs.get("device")
    moves = function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if len(places) > 1 and not moves:
        raise RuntimeError(f"Expected all tensors to be on the same device, in {function}")
    plain = tree_map(lambda value: value.inner if isinstance(value, Placed) else value, (args, kwargs))
    if asked is not None:
        plain[1]["device"] = HERE
    there = asked == THERE if asked is not None else _any_placed(args, kwargs)
    result = function(*plain[0], **plain[1])
    if function is torch.ops.aten.copy_.default or function.__name__.split(".")[0].endswith("_"):
        return args[0]
    return tree_map(lambda value: Placed(value) if there and isinstance(value, torch.Tensor) else value, result)


def _any_placed(args, kwargs) -> bool:
    found = []
    tree_map(lambda value: found.append(isinstance(value, Placed)) or value, (args, kwargs))
    return any(found)


def shard(model, first: int) -> None:
    """Put the LLM's layers from `first` on, and its norm, on `THERE`, as accelerate's `device_map` does: before a layer or a part of one
    runs, its inputs are moved to its device, and the model's output comes back. Not undone."""
    text = model.model.language_model
    moved = [*text.layers[first:], text.norm]
    for module in moved:
        for part in module.modules():
            for name, weight in list(part._parameters.items()):
                if weight is not None:
                    part._parameters[name] = torch.nn.Parameter(Placed(weight.data), requires_grad=False)
    for module in [*text.layers, text.norm]:
        for part in (module, *module.children()):
            part.forward = _moving(part.forward, THERE if module in moved else HERE)
    model.lm_head.forward = _moving(model.lm_head.forward, HERE)


def _moving(forward, device):
    def moved(*args, **kwargs):
        args, kwargs = tree_map(lambda value: value.to(device) if isinstance(value, torch.Tensor) else value, (args, kwargs))
        return forward(*args, **kwargs)

    return moved
