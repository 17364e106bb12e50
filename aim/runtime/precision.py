"""The device and number type that a model runs in by default, and a run that tells whether float16 holds its values."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from aim.engine.features import taking_features
from aim.kernels.bounds import Kind, refusal
from aim.kernels.products import bfloat16_products
from aim.runtime.failure import shown_name
from aim.runtime.gpus import running_on
from aim.runtime.memory import release

if TYPE_CHECKING:
    from aim.runtime.vlm import VLM

logger = logging.getLogger("aim.runtime")
DTYPE = Kind((torch.dtype, type(None)), "None or a number type of torch", "Use torch.float32, for example.")
MPS = "mps"  # torch's name for Apple's GPUs
MPS_TYPES = (torch.float32, torch.float16, torch.bfloat16)  # they have no float64
_FRAMES, _SIDE = 2, 64
_QUESTION = "What happens in the video?"


def device_and_dtype(device: str | torch.device | None, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    """The device and the number type, with their defaults filled in.

    The device is CUDA where there is one, else the CPU. On CUDA the type is bfloat16 where the GPU's tensor cores compute in it, and
    float16 elsewhere (a T4, a V100), where bfloat16 would be emulated, many times slower. It is float32 on everything else. Apple's GPUs
    ("mps") are taken where they are named. Nothing was tested on one, and a warning says so.

    Raises:
        Refusal: there is no device of that name, `dtype` is no number type, or Apple's GPUs do not have it.
    """
    DTYPE.check("dtype", dtype)
    try:
        place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
    except (TypeError, ValueError, RuntimeError):
        raise refusal("device", device, 'the name of a device, such as "cpu" or "cuda:0"', "Leave it out for the default.") from None
    if place.type == MPS:
        if dtype is not None and dtype not in MPS_TYPES:
            raise refusal("dtype", dtype, "torch.float32, torch.float16 or torch.bfloat16 on Apple's GPUs", "Use torch.float32.")
        if torch.backends.mps.is_available():
            logger.warning("Nothing of this was tested on Apple's GPUs (mps). Compare some answers with those of the CPU.")
    if dtype is None and place.type == "cuda":
        dtype = torch.bfloat16 if _has_bfloat16(place) else torch.float16
    return place, dtype or torch.float32


def products_in(device: torch.device, dtype: torch.dtype) -> str:
    """The number type in which a run multiplies the matrices of a model of type `dtype`, such as "bfloat16"."""
    faster = device.type == "cpu" and dtype == torch.float32 and bfloat16_products() is not None
    return "bfloat16" if faster else str(dtype).removeprefix("torch.")


def told_of(device: torch.device, dtype: torch.dtype) -> str:
    """The device and number type in words, for people: where products are of another type, and where nothing was tested."""
    own, products = str(dtype).removeprefix("torch."), products_in(device, dtype)
    further = [f", {products} products ({bfloat16_products()})"] * (products != own) + [" (untested)"] * (device.type == MPS)
    return "".join([f"{device} {own}", *further])


def in_a_type_that_holds(load: Callable[[torch.dtype | None], VLM], dtype: torch.dtype | None) -> VLM:
    """The model that `load` makes in `dtype`.

    It is made in float32 where no type was named, float16 was picked, and float16 does not hold the model's values.

    It is then loaded again and not converted, because values that float16 rounded would stay rounded.
    """
    vlm = load(dtype)
    if dtype is not None or vlm.dtype != torch.float16 or is_finite(vlm):
        return vlm
    logger.warning("%s gives values that are not finite in float16. It is loaded again in float32.", shown_name(vlm.name))
    del vlm
    release()
    return load(torch.float32)


def is_finite(vlm: VLM) -> bool:
    """Whether the features of a small clip and the logits after one prefill with it are all finite in the model's number type.

    Values past 65,504 are infinite in float16, and later layers turn them into NaN. The clip is made of noise and a fade. The whole prompt
    is run, because activations grow largest on its first tokens. A longer clip may still overflow.
    """
    frames = np.random.default_rng(0).integers(0, 256, (_FRAMES, _SIDE, _SIDE, 3))
    frames[1] = np.linspace(0, 255, _SIDE)[None, :, None]
    options = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with running_on(vlm.device), torch.inference_mode(), taking_features(vlm.model.model):
        encoded = vlm.encode(frames.astype(np.uint8))
        inputs = vlm.inputs(_QUESTION, encoded)
        output = vlm.model.generate(**inputs, **options)  # type: ignore[operator]  # as in aim.runtime.generation
    return bool(torch.isfinite(output.logits[0]).all())


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16: NVIDIA's do from compute capability 8.0 (Ampere) on, as do the AMD GPUs that torch supports."""
    if torch.version.hip or not torch.cuda.is_available():  # without a GPU, moving the model there raises the error that says so
        return True
    return torch.cuda.get_device_capability(device)[0] >= 8
