"""Many clients at once on the real app: `python -m tests.soak [RUNS [SETTLED [STRETCH]]]`, 200 runs by default.

The server runs here, so that its memory, hooks and queue can be looked at; the clients run in a process of their own. Some ask and wait,
some press Stop, some close the tab, some hang up; every answer that comes whole is compared with the same question asked alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import httpx
import numpy as np

from tests.visitor import EXAMPLES, examples

RUNS, CLIENTS, SETTLED, STRETCH = 200, 8, 40, 30
WAYS = ("page", "drag", "api", "stop", "closed tab", "hang up")


@dataclass(frozen=True)
class Asked:
    """One client's question: how it goes about it, and every knob."""

    way: str
    example: int
    num_frames: int
    merge_ratio: float
    l1: int
    l2: int
    positions: str
    compare: bool
    patience: float


def draw(seed: int) -> Asked:
    """A random question with random knobs."""
    rng = random.Random(seed)
    l1 = rng.randrange(0, 12)
    return Asked(
        way=rng.choice(WAYS),
        example=rng.randrange(len(examples())),
        num_frames=rng.choice((2, 4, 8, 12)),
        merge_ratio=rng.choice((0.1, 0.25, 0.5, 1.0)),
        l1=l1,
        l2=rng.randrange(l1 + 1, 14),
        positions=rng.choice(("compact", "original")),
        compare=rng.random() < 0.3,
        patience=rng.random(),
    )


# Kept clips and features are bounded in bytes, and forty of them stay below the usual bounds. With small bounds memory has to settle.
@patch.dict(os.environ, {"AIM_CLIPS_MEMORY": "4MiB", "AIM_FEATURES_MEMORY": "4MiB"})
def report(runs: int = RUNS, settled: int = SETTLED, stretch: int = STRETCH, clients: int = CLIENTS) -> dict:
    """Run it all; figures in bytes and counts. Memory is the median of `stretch` runs, after the first `settled` and at the end."""
    import aim
    from tests.visitor import serve

    vlm = aim.load("bundled")
    vlm.encode(np.zeros((1, 64, 64, 3), np.uint8))  # on its first run transformers puts hooks of its own on the tower
    own = hooks(vlm)
    demo, address = serve(vlm)
    command = [sys.executable, "-m", "tests.soak", "--clients", address, str(runs), str(clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        memory, outcomes = {}, []
        try:
            for line in process.stdout:
                outcomes.append(json.loads(line))
                memory[len(outcomes)] = resident()
        except BaseException:  # a test's time limit; leaving the block would wait for the clients
            process.kill()
            raise
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (len(demo._queue) or any(demo._queue.active_jobs)):
        time.sleep(0.05)
    end = resident()
    wrong = [outcome for outcome in outcomes if outcome["wrong"]]
    left = {
        "hooks": hooks(vlm) - own,
        "waiting": len(demo._queue) + sum(job is not None for job in demo._queue.active_jobs),
        "sessions": len(demo.state_holder.session_data),
        "attention": vlm.model.config.text_config._attn_implementation,
    }
    demo.close(verbose=False)
    return {
        "runs": len(outcomes),
        "ways": Counter(outcome["way"] for outcome in outcomes),
        "ended": Counter(outcome["ended"] for outcome in outcomes),
        "wrong": wrong,
        "memory_settled": statistics.median([*memory.values()][settled : settled + stretch] or [end]),
        "memory_end": statistics.median([*memory.values()][-stretch:] or [end]),
        "exit": process.returncode,
        **left,
    }


def of_its_own(module: str, *arguments: str, seconds: float) -> dict:
    """What the report of a module of these tests says where its server is a process of its own, whose memory no other test has grown.

    Raises:
        subprocess.TimeoutExpired: it took longer than `seconds`.
    """
    with tempfile.TemporaryDirectory() as uploads:
        environment = os.environ | {"GRADIO_TEMP_DIR": uploads}
        command = [sys.executable, "-m", module, *arguments]
        root = Path(__file__).parent.parent
        return json.loads(subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, timeout=seconds, check=True).stdout)


def hooks(vlm) -> int:
    """Hooks on the model."""
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in vlm.model.modules())


def resident() -> int:
    """Bytes of this process in memory. What is free already but still lies in the allocator's stock does not count."""
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def clients(address: str, runs: int, at_once: int) -> None:
    """Ask from `at_once` threads; a JSON line for each run as it ends."""
    import aim

    vlm, alone, lock = aim.load("bundled"), {}, threading.Lock()

    def expected(asked: Asked) -> list[str]:
        """What the same run gives alone."""
        key = tuple(value for name, value in asdict(asked).items() if name != "patience")
        with lock:
            if key not in alone:
                clip = aim.read_video(EXAMPLES / examples()[asked.example]["file"], asked.num_frames)
                method = aim.AIM(merge_ratio=asked.merge_ratio, l1=asked.l1, l2=asked.l2, positions=asked.positions)
                methods = [method, aim.Full()] if asked.compare or asked.way != "api" else [method]
                alone[key] = [vlm.ask(clip, examples()[asked.example]["question"], one, max_new_tokens=8).text for one in methods]
            return alone[key]

    def run(number: int) -> None:
        asked = draw(number)
        told = {"api": by_api, "drag": by_dragging}.get(asked.way, by_page)(address, asked)
        # Whoever leaves or stops may have nothing; what does come whole must be right.
        wrong = told is not None and told != expected(asked)
        if told is None and asked.way in ("page", "api", "drag"):
            wrong = True
        ended = "answered" if told else "left early"
        line = json.dumps({"way": asked.way, "ended": ended, "wrong": wrong, "told": told if wrong else None, "asked": asdict(asked)})
        with lock:
            print(line, flush=True)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(run, range(runs)))


def by_page(address: str, asked: Asked) -> list[str] | None:
    """Through a tab of its own; the answers, or None where it did not come to them."""
    from tests.page import Page

    page = Page(address)
    try:
        settle(page, asked)
        if asked.way in ("stop", "closed tab"):
            leave = page.press_stop if asked.way == "stop" else page.hang_up
            threading.Timer(asked.patience, lambda: _unless_over(leave)).start()
        last = None
        for last in page.press_run():
            if asked.way == "hang up" and last["msg"] == "process_generating":
                return None
        if last is None or last["msg"] != "process_completed" or not last["success"] or "Answered" not in last["output"]["data"][0]:
            return None
        page.at_once(page.event("export-beacon", "select"))  # the files
        return [last["output"]["data"][1][who] for who in ("answer", "full")]
    except httpx.TransportError:
        return None
    finally:
        page.close()


def settle(page, asked: Asked) -> None:
    """Set clip, question and knobs."""
    page.upload(EXAMPLES / examples()[asked.example]["file"])
    page.set("question", examples()[asked.example]["question"])
    knobs = {"frames": asked.num_frames, "merge-ratio": asked.merge_ratio, "l1": asked.l1, "l2": asked.l2}
    for name, value in {**knobs, "positions": asked.positions, "compare": asked.compare}.items():
        page.set(name, value)


def by_dragging(address: str, asked: Asked) -> list[str] | None:
    """Live, as while a slider moves: some settings one after another, of which the last one counts."""
    from tests.page import Page

    page = Page(address)
    try:
        settle(page, asked)
        for ratio in (0.9, 0.3, asked.merge_ratio):
            page.set("merge-ratio", ratio)
            shown = page.drag()[0]
        while "answer" not in shown:  # it gave way, and the browser would ask again
            time.sleep(0.2)
            shown = page.drag()[0]
        return [shown[who] for who in ("answer", "full")]
    except httpx.TransportError:
        return None
    finally:
        page.close()


def _unless_over(leave) -> None:
    """Stop or leave; a page that is done has gone already."""
    with suppress(httpx.HTTPError, RuntimeError, OSError):
        leave()


def by_api(address: str, asked: Asked) -> list[str] | None:
    """Through the public endpoint."""
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False)
    knobs = {name: getattr(asked, name) for name in ("num_frames", "merge_ratio", "l1", "l2", "positions", "compare")}
    example = examples()[asked.example]
    told = client.predict(video=handle_file(str(EXAMPLES / example["file"])), question=example["question"], **knobs, api_name="/ask")
    client.close()
    return [told["answer"], told["full"]["answer"]] if asked.compare else [told["answer"]]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--clients"]:
        clients(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        print(json.dumps(report(*map(int, sys.argv[1:])), indent=1))
