"""The model the host asked for, or the bundled one with a notice that says why."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aim.runtime.faults import is_out_of_memory
from aim.runtime.vlm import VLM, load
from aim.ui.errors import sentence
from aim.ui.texts import public_name

logger = logging.getLogger("aim.ui")


def load_model(name: str, quantization: str | None = None, loader: Callable[..., VLM] = load) -> tuple[VLM, str]:
    """The model of that name and "", or the bundled model and a sentence that says why it answers instead. See `aim.load`."""
    try:
        return loader(name, quantization=quantization), ""
    except Exception as error:
        if name == "bundled" and quantization is None:
            raise
        reason = "The model does not fit into the memory here." if is_out_of_memory(error) else sentence(error)
        notice = f"The model {public_name(name)} could not be loaded, so the bundled one answers. {reason}"
    logger.warning(notice)
    return loader("bundled"), notice
