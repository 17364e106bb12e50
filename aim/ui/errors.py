"""Exceptions to messages: a `ValueError` is worded for the visitor, anything else is ours to read in the log."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from html import escape

import gradio as gr

logger = logging.getLogger("aim.ui")
UNEXPECTED = "Something went wrong on our side. Your video, question and knobs are still here: try again, or try another video."


def message(error: Exception) -> gr.Error:
    """The message box for an error. Gradio renders it as HTML, so it is escaped."""
    if isinstance(error, ValueError):
        return gr.Error(escape(str(error)), print_exception=False)
    # The exception's own text may quote the question or a path, so only its type and where it happened are logged.
    logger.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return gr.Error(UNEXPECTED, print_exception=False)


def politely(generator: Callable[..., Iterator]) -> Callable[..., Iterator]:
    """The same generator function, with exceptions turned into message boxes."""

    @wraps(generator)
    def guarded(*arguments):
        try:
            yield from generator(*arguments)
        except Exception as error:
            raise message(error) from None

    return guarded
