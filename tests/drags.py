"""Eight visitors who drag at once for a minute, each on a clip of their own: `python -m tests.drags [SECONDS]`.

The server runs here, so that its memory can be looked at. The clients run in a process of their own. Every answer is compared with the
answer to the same clip and setting that the model gives alone, and every screen with what its visitor has set.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

from tests.soak import hooks, resident
from tests.visitor import EXAMPLES, examples, serve

SECONDS, VISITORS, FRAMES = 60, 8, 4
RATIOS = (0.04, 0.1, 0.25, 0.5, 0.75, 1.0)


@patch.dict(os.environ, {"AIM_CLIPS_MEMORY": "4MiB", "AIM_FEATURES_MEMORY": "4MiB"})
def report(seconds: float = SECONDS) -> dict:
    """Run it all. Memory is in bytes: the median of the second quarter of the answers, and that of the last."""
    import numpy as np

    import aim

    vlm = aim.load("bundled")
    vlm.encode(np.zeros((1, 64, 64, 3), np.uint8))  # on its first run transformers puts hooks of its own on the tower
    own = hooks(vlm)
    demo, address = serve(vlm)
    command = [sys.executable, "-m", "tests.drags", "--clients", address, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        told, memory = [], []
        try:
            for line in process.stdout:
                told.append(json.loads(line))
                memory.append(resident())
        except BaseException:  # a test's time limit; leaving the block would wait for the clients
            process.kill()
            raise
    demo.close(verbose=False)
    quarter = max(1, len(memory) // 4)
    waits = sorted(one["seconds"] for one in told)
    return {
        "answers": len(told),
        "visitors": len({one["visitor"] for one in told}),
        "wrong": [one for one in told if one["wrong"]],
        "median_seconds": round(statistics.median(waits), 3) if waits else None,
        "memory_settled": statistics.median(memory[quarter : 2 * quarter] or [0]),
        "memory_end": statistics.median(memory[-quarter:] or [0]),
        "hooks": hooks(vlm) - own,
        "exit": process.returncode,
    }


def clients(address: str, seconds: float) -> None:
    """Drag, and print a JSON line for each answer."""
    import aim
    from tests.page import Page

    vlm, lock = aim.load("bundled"), threading.Lock()
    alone = {}
    for visitor in range(VISITORS):
        example = examples()[visitor]
        clip = aim.read_video(EXAMPLES / example["file"], FRAMES)
        methods = {ratio: aim.AIM(merge_ratio=ratio) for ratio in RATIOS} | {None: aim.Full()}
        said = {ratio: vlm.ask(clip, example["question"], method, max_new_tokens=8) for ratio, method in methods.items()}
        alone[visitor] = {ratio: (answer.text, answer.trace.merged_tokens) for ratio, answer in said.items()}
    deadline = time.monotonic() + seconds

    def drag(visitor: int) -> None:
        page, draw, last, example = Page(address), random.Random(visitor), None, examples()[visitor]
        page.upload(EXAMPLES / example["file"])
        page.set("question", example["question"])
        page.set("frames", FRAMES)
        while time.monotonic() < deadline:
            last = draw.choice([ratio for ratio in RATIOS if ratio != last])
            page.set("merge-ratio", last)
            began = time.monotonic()
            while "answer" not in (shown := page.drag()[0]):  # it gave way, and the browser would ask again
                time.sleep(0.1)
            text, tokens = alone[visitor][last]
            right = shown["answer"] == text and shown["full"] == alone[visitor][None][0] and shown["asked"][1] == example["question"]
            right = right and last in shown["asked"] and f"→ {tokens:,} tokens" in shown["facts"][0][0]
            line = {"visitor": visitor, "seconds": time.monotonic() - began, "wrong": not right, "ratio": last, "told": shown["answer"]}
            with lock:
                print(json.dumps(line), flush=True)
        page.close()

    with ThreadPoolExecutor(VISITORS) as pool:
        list(pool.map(drag, range(VISITORS)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--clients"]:
        clients(sys.argv[2], float(sys.argv[3]))
    else:
        print(json.dumps(report(float(sys.argv[1]) if sys.argv[1:] else SECONDS), indent=1))
