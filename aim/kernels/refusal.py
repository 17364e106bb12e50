"""The one exception whose text a visitor reads."""

from __future__ import annotations


class Refusal(ValueError):
    """A request that whoever made it can mend. The message names what was given, what is accepted, and what to do.

    It holds no path and nothing of anybody else's. Every other exception is a fault of ours: the visitor gets one sentence, the log its
    type and traceback.
    """
