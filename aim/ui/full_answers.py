"""What the full model said: once for a clip and a question, so that every setting can be compared with it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from aim.runtime.answer import Answer
from aim.video.clip import Clip

KEPT = 256  # answers, each of some kilobytes


class FullAnswers:
    """The full model's last answers. It may be used from any thread. Whoever asks has the clip and the question."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def of(self, clip: Clip, question: str, max_new_tokens: int) -> Answer | None:
        """The answer to this question, None where it is not kept."""
        key = (clip.digest, question, max_new_tokens)
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
            return self._answers.get(key)

    def keep(self, clip: Clip, question: str, max_new_tokens: int, answer: Answer) -> Answer:
        """Keep a complete answer, and return it as it is kept: with its counts and times, and without what each layer saw."""
        trace = replace(answer.trace, survivors=[], scores=[]) if answer.trace is not None else None
        kept = replace(answer, trace=trace, next_token=None)
        with self._lock:
            self._answers[(clip.digest, question, max_new_tokens)] = kept
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)
        return kept
