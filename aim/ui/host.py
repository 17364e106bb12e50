"""The model the host asked for, or the bundled one with a notice that says why."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aim.kernels.refusal import Refusal
from aim.runtime import features
from aim.runtime.byte_sizes import size_from_environment
from aim.runtime.failure import shown_name
from aim.runtime.faults import is_out_of_memory
from aim.runtime.vlm import VLM, load
from aim.ui import store
from aim.ui.errors import known, log_fault

logger = logging.getLogger("aim.ui")
SIZES = {features.VARIABLE: features.FEATURES_MEMORY, store.VARIABLE: store.CLIPS_MEMORY}


def read_sizes() -> None:
    """Read the bounds of memory that the environment sets, so that a bad one ends the start with one sentence.

    Raises:
        SystemExit: one of them is no size.
    """
    try:
        for name, default in SIZES.items():
            size_from_environment(name, default)
    except Refusal as error:
        raise SystemExit(str(error)) from None


def load_model(name: str, quantization: str | None = None, loader: Callable[..., VLM] = load) -> tuple[VLM, str]:
    """The model of that name and "", or the bundled model and a sentence that says why it answers instead. See `aim.load`.

    Raises:
        SystemExit: the environment sets a bound of memory that is no size.
    """
    read_sizes()
    try:
        return loader(name, quantization=quantization), ""
    except Exception as error:
        if name == "bundled" and quantization is None:
            raise
        notice = f"The model {shown_name(name)} could not be loaded, so the bundled one answers. {reason(error)}"
    logger.warning(notice)
    return loader("bundled"), notice


def reason(error: Exception) -> str:
    """What visitors are told of a model that was not loaded.

    The text of an error without words for visitors may hold a path, so it is kept out of the log too.
    """
    if is_out_of_memory(error):
        return "The model does not fit into the memory here."
    told = known(error)
    if told is None:
        log_fault(error)
        return "The log of this server tells why."
    return told
