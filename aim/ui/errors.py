"""Exceptions as sentences. Only a `Refusal` is shown as it is. A fault of the machine has its own sentence. The rest is logged."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from html import escape
from typing import Any

import gradio as gr

from aim.kernels.refusal import Refusal
from aim.runtime.faults import is_disk_full, is_out_of_memory
from aim.ui.status import not_run

logger = logging.getLogger("aim.ui")
UNEXPECTED = "Something went wrong on our side. Your video, question and settings are still here. Try again, or try another video."
NO_MEMORY = "The memory here does not hold this run. Use fewer frames or a smaller merge ratio, and try again."
DISK_FULL = "The disk of this server is full, so nothing could be saved. The page keeps what it shows. Try again in a few minutes."


def message(error: Exception) -> gr.Error:
    """The message box for an error. Gradio renders it as HTML, so it is escaped."""
    return gr.Error(escape(sentence(error)), print_exception=False)


def sentence(error: Exception) -> str:
    """What a visitor is told, as plain text without a path. An error that has no words for visitors is logged."""
    told = known(error)
    if told is None:
        log_fault(error)
        return UNEXPECTED
    return told


def known(error: Exception) -> str | None:
    """The sentence of a refusal, of full memory, of a full disk or of a missing package. None for every other error."""
    if isinstance(error, Refusal):
        return str(error)
    if is_out_of_memory(error):
        return NO_MEMORY
    if is_disk_full(error):
        return DISK_FULL
    if isinstance(error, ImportError) and error.name:
        # The error's own text may hold a path. Its name is that of a module.
        return f"This server lacks the Python package {error.name.split('.')[0]}, so this cannot be done."
    return None


def log_fault(error: Exception) -> None:
    """Log the type of an error and where it happened. Its own text is left out, because it may quote the question or a path."""
    logger.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))


def told_in_status(outputs: int) -> Callable[[Callable[..., Iterator]], Callable[..., Iterator]]:
    """Turns exceptions of a generator function into the sentence of a status line, which stays until the next action.

    Args:
        outputs: how many values it yields each time. The first one is the status line.
    """

    def guard(generator: Callable[..., Iterator]) -> Callable[..., Iterator]:
        @wraps(generator)
        def guarded(*arguments):
            try:
                yield from generator(*arguments)
            except Exception as error:
                yield [not_run(sentence(error)), *[gr.skip()] * (outputs - 1)]

        return guarded

    return guard


def with_messages(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with exceptions turned into message boxes."""

    @wraps(function)
    def guarded(*arguments):
        try:
            return function(*arguments)
        except Exception as error:
            raise message(error) from None

    return guarded
