"""`python -m aim.serving.load`: many clients at once at a running server, through the OpenAI API, and a table of what they saw.

First every question is asked by itself, at every ratio, and what the server says then is the right answer. Then come the levels of requests
in flight. At each level the ratios take turns, so that a slow minute of the machine falls on all of them. In the row "mixed" requests of
all ratios are in flight together.

Start the server with `--no-enable-prefix-caching --mm-processor-cache-gb 0`, or later requests find earlier ones in its caches.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from aim.kernels.bounds import FROM_1
from aim.kernels.refusal import Refusal
from aim.serving.client import clip_url, question
from aim.video.clip import read_video

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"


@dataclass(frozen=True)
class Asked:
    """One question about one clip, at one merge ratio."""

    clip: str
    text: str
    ratio: float


@dataclass(frozen=True)
class Reply:
    """What came back: the words, seconds until the first of them, and seconds in all. `failed` is the error's name."""

    text: str = ""
    first: float = 0.0
    seconds: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Row:
    """What the clients saw at one level and ratio.

    Attributes:
        in_flight: requests at a time.
        ratio: merge ratio, or "mixed".
        requests: how many were sent in all turns.
        seconds: that they took.
        first_token: median seconds until the first word.
        wrong: answers other than the server's own to that request by itself.
        failed: requests without an answer.
    """

    in_flight: int
    ratio: str
    requests: int
    seconds: float
    first_token: float
    wrong: int
    failed: int

    @property
    def throughput(self) -> float:
        """Answered requests a second."""
        return (self.requests - self.failed) / self.seconds


def measure(
    ask: Callable[[Asked], Reply],
    questions: Sequence[tuple[str, str]],
    ratios: Sequence[float],
    levels: Sequence[int],
    requests: int,
    turns: int,
) -> list[Row]:
    """Load a server.

    Args:
        ask: sends one request and waits for its answer; called by many threads.
        questions: (clip, text) pairs, asked in turn.
        ratios: merge ratios.
        levels: how many requests are in flight at a time.
        requests: of one ratio in one turn.
        turns: of each level.
    """
    alone = {asked: ask(asked) for ratio in ratios for asked in _of(questions, ratio, len(questions))}
    kinds = {f"{ratio:g}": list(_of(questions, ratio, requests)) for ratio in ratios}
    if len(ratios) > 1:
        kinds["mixed"] = list(islice((asked for several in zip(*kinds.values(), strict=True) for asked in several), requests))
    rows = []
    for level in levels:
        seen: dict[str, list[tuple[Asked, Reply]]] = {kind: [] for kind in kinds}
        seconds = dict.fromkeys(kinds, 0.0)
        for _ in range(turns):
            for kind, batch in kinds.items():
                started = time.perf_counter()
                with ThreadPoolExecutor(level) as clients:
                    seen[kind] += zip(batch, clients.map(ask, batch), strict=True)
                seconds[kind] += time.perf_counter() - started
        rows += [_row(level, kind, pairs, seconds[kind], alone) for kind, pairs in seen.items()]
    return rows


def _of(questions: Sequence[tuple[str, str]], ratio: float, count: int) -> list[Asked]:
    return [Asked(clip, text, ratio) for clip, text in islice(cycle(questions), count)]


def _row(level: int, kind: str, pairs: list[tuple[Asked, Reply]], seconds: float, alone: dict[Asked, Reply]) -> Row:
    answered = [(asked, reply) for asked, reply in pairs if not reply.failed]
    wrong = sum(reply.text != alone[asked].text for asked, reply in answered)
    first = median(reply.first for _, reply in answered) if answered else float("nan")
    return Row(level, kind, len(pairs), seconds, first, wrong, len(pairs) - len(answered))


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| in flight | merge ratio | requests a second | first token, median | wrong answers | failed |", "|---|---|---|---|---|---|"]
    for row in rows:
        told = f"{row.throughput:.2f} | {row.first_token:.2f} s | {row.wrong} of {row.requests - row.failed} | {row.failed}"
        lines.append(f"| {row.in_flight} | {row.ratio} | {told} |")
    return "\n".join(lines)


def asker(url: str, frames: int, max_tokens: int) -> Callable[[Asked], Reply]:
    """Sends requests to a server through the OpenAI client.

    Raises:
        Refusal: no server answers there, or the client is not installed.
    """
    try:
        from openai import OpenAI, OpenAIError
    except ImportError as error:
        raise Refusal("The OpenAI client is not installed here; vLLM's environment has it. Run `pip install openai`.") from error
    client = OpenAI(base_url=url, api_key="none", max_retries=0, timeout=600)
    try:
        model = client.models.list().data[0].id
    except OpenAIError as error:
        raise Refusal(
            f"No OpenAI-compatible server answers at {url}; start one first (aim/serving/README.md), or give its --url."
        ) from error
    urls: dict[str, str] = {}

    def ask(asked: Asked) -> Reply:
        if asked.clip not in urls:
            urls[asked.clip] = clip_url(read_video(asked.clip, frames).frames)
        started, first, words = time.perf_counter(), 0.0, []
        try:
            request = question(urls[asked.clip], asked.text, asked.ratio)
            for part in client.chat.completions.create(model=model, max_tokens=max_tokens, stream=True, **request):
                if part.choices and part.choices[0].delta.content:
                    first = first or time.perf_counter() - started
                    words.append(part.choices[0].delta.content)
        except OpenAIError as error:
            return Reply(failed=type(error).__name__)
        return Reply("".join(words), first, time.perf_counter() - started)

    return ask


def run(arguments: Sequence[str] | None = None) -> str:
    """The table, for the arguments of the command line.

    Raises:
        Refusal: numbers out of range, no server, or a server that does not take a request's own ratio.
    """
    parser = argparse.ArgumentParser(prog="python -m aim.serving.load", description="Load a running server through the OpenAI API.")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="(default: %(default)s)")
    parser.add_argument("--ratios", type=float, nargs="+", default=[1.0, 0.25], help="merge ratios (default: 1 0.25)")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 4, 16, 64], help="requests at a time (default: 1 4 16 64)")
    parser.add_argument("--requests", type=int, default=64, help="of each ratio in each turn (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=2, help="of each level, the ratios one after another (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=32, help="of each example clip (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=32, help="of an answer (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name in ("requests", "turns", "frames", "max_tokens"):
        FROM_1.check(name, getattr(options, name), "Give a larger number.")
    for level in options.in_flight:
        FROM_1.check("in_flight", level, "Give a larger number.")
    ask = asker(options.url, options.frames, options.max_tokens)
    questions = [(str(EXAMPLES / example["file"]), example["question"]) for example in json.loads((EXAMPLES / "examples.json").read_text())]
    for ratio in options.ratios:
        if failed := ask(Asked(*questions[0], ratio)).failed:
            raise Refusal(f"The server refused merge ratio {ratio:g} ({failed}); start it as aim/serving/README.md says.")
    return table(measure(ask, questions, options.ratios, options.in_flight, options.requests, options.turns))


if __name__ == "__main__":
    try:
        print(run())
    except Refusal as refused:
        print(f"aim: {refused}", file=sys.stderr)
        raise SystemExit(2) from None
