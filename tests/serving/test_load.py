"""The load of a server, with a made-up server whose answers and delays are known."""

from __future__ import annotations

import base64
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from aim.serving.client import clip_url, question
from aim.serving.load import Asked, Reply, measure, run, table

QUESTIONS = [("a.mp4", "What?"), ("b.mp4", "Where?"), ("c.mp4", "When?")]


class MadeUp:
    """Answers by the clip and the ratio. It counts how many requests are in it, and goes wrong where `wrong(asked, inside)` is true."""

    def __init__(self, wrong=lambda asked, inside: False, failed=lambda asked, inside: False):
        self.wrong, self.failed = wrong, failed
        self.inside, self.most, self.lock = 0, 0, threading.Lock()

    def __call__(self, asked: Asked) -> Reply:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            inside = self.inside
        time.sleep(0.01)
        with self.lock:
            self.inside -= 1
        if self.failed(asked, inside):
            return Reply(failed="InternalServerError")
        return Reply("other" if self.wrong(asked, inside) else f"{asked.clip} {asked.ratio}", 0.005, 0.01)


def test_every_level_has_a_row_for_each_ratio_and_one_for_all_together():
    server = MadeUp()
    rows = measure(server, QUESTIONS, [1, 0.25], [1, 4], requests=6, turns=2)
    assert [(row.in_flight, row.ratio, row.requests) for row in rows] == [(n, r, 12) for n in (1, 4) for r in ("1", "0.25", "mixed")]
    assert all((row.wrong, row.failed, row.first_token) == (0, 0, 0.005) for row in rows)
    assert server.most == 4
    alone, four = rows[0], rows[3]
    assert alone.throughput < 100 < four.throughput  # 10 ms each, by itself and four at a time


def test_an_answer_other_than_the_one_alone_is_wrong_and_no_answer_is_failed():
    [one, two] = measure(MadeUp(wrong=lambda asked, inside: inside > 1), QUESTIONS, [0.5], [1, 2], requests=6, turns=1)
    assert one.wrong == 0 and two.wrong > 0 and one.failed == two.failed == 0
    [_, lost] = measure(MadeUp(failed=lambda asked, inside: inside > 1), QUESTIONS, [0.5], [1, 2], requests=6, turns=1)
    assert lost.failed > 0 and lost.wrong == 0
    assert table([lost]).splitlines()[-1].endswith(f"| 0 of {6 - lost.failed} | {lost.failed} |")


def test_frames_arrive_as_they_were_sent():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
    kind, _, parts = clip_url(frames).partition(",")
    assert kind == "data:video/jpeg;base64"
    read = [np.asarray(Image.open(io.BytesIO(base64.b64decode(part)))) for part in parts.split(",")]
    assert np.array_equal(read, frames)


def test_a_request_names_its_ratio_only_where_it_has_one():
    assert "extra_body" not in question("url", "What?")
    assert question("url", "What?", 0.5)["extra_body"] == {"mm_processor_kwargs": {"merge_ratio": 0.5}}


@pytest.mark.parametrize("flags", ["--turns 0", "--in-flight 4 0", "--frames -1"])
def test_numbers_out_of_range_are_refused(flags):
    with pytest.raises(ValueError, match="accepted: a whole number of at least 1"):
        run(flags.split())
