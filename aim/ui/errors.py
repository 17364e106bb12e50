"""Exceptions as messages. A `ValueError` is worded for the visitor. A fault of the machine has its own sentence. The rest is logged."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from html import escape

import gradio as gr

from aim.runtime.faults import is_disk_full, is_out_of_memory

logger = logging.getLogger("aim.ui")
UNEXPECTED = "Something went wrong on our side. Your video, question and knobs are still here. Try again, or try another video."
NO_MEMORY = "The memory here does not hold this run. Use fewer frames or a smaller merge ratio, and try again."
DISK_FULL = "The disk of this server is full, so nothing could be saved. The page keeps what it shows. Try again in a few minutes."


def message(error: Exception) -> gr.Error:
    """The message box for an error. Gradio renders it as HTML, so it is escaped."""
    return gr.Error(escape(sentence(error)), print_exception=False)


def sentence(error: Exception) -> str:
    """What a visitor is told, as plain text without a path. An error without words for visitors goes to the log."""
    if isinstance(error, ValueError):
        return str(error)
    if is_out_of_memory(error):
        return NO_MEMORY
    if is_disk_full(error):
        return DISK_FULL
    if isinstance(error, ImportError):
        # Python's own errors name the package, and their text may hold a path. Errors without a name are worded here or by a library.
        package = error.name and error.name.split(".")[0]
        return f"This server lacks the Python package {package}, so this cannot be done." if package else str(error)
    # The exception's own text may quote the question or a path, so only its type and where it happened are logged.
    logger.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return UNEXPECTED


def politely(generator: Callable[..., Iterator]) -> Callable[..., Iterator]:
    """The same generator function, with exceptions turned into message boxes."""

    @wraps(generator)
    def guarded(*arguments):
        try:
            yield from generator(*arguments)
        except Exception as error:
            raise message(error) from None

    return guarded
