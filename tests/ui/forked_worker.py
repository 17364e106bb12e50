"""ZeroGPU in small: an interpreter of its own that holds the model and forks for each call, as the package `spaces` does.

A fork copies the locks of every thread and the threads of none, so forking a process that has computed can hang for ever. This file is
therefore started with `python -m tests.ui.forked_worker`: the interpreter loads the model, computes nothing, and refuses to fork once it
has a second thread. What happened in the scenarios below goes to a file as one pickled dictionary, and the tests compare it with what
happens in their own process.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "HF_DEACTIVATE_ASYNC_LOAD"), "1")
SECONDS = 90  # far more than the scenarios take on a busy machine
QUESTION = "what colour is the circle?"


def play(folder: Path) -> dict:
    """Start the interpreter, wait for it and return what happened in each scenario."""
    told = folder / "told.pickle"
    run = subprocess.run(
        [sys.executable, "-m", "tests.ui.forked_worker", str(told)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **ONE_THREAD, "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return pickle.loads(told.read_bytes())


class Forked:
    """A decorator like `spaces.GPU` on ZeroGPU: each call runs in a fork, and arguments and results are pickled."""

    def __init__(self):
        self.estimates, self.children = [], []

    def __call__(self, duration):
        def decorate(function):
            def call(*arguments):
                self.estimates.append(duration(*arguments))
                threads = os.listdir("/proc/self/task")
                if len(threads) > 1:
                    raise RuntimeError(f"{len(threads)} threads run here, so a fork could hang.")
                context = multiprocessing.get_context("fork")
                here, there = context.Pipe(duplex=False)
                child = context.Process(target=work, args=(function, pickle.dumps(arguments), there), daemon=True)
                child.start()
                there.close()
                self.children.append(child)
                try:
                    while (message := pickle.loads(here.recv_bytes())) is not None:
                        kind, item = message
                        if kind == "raised":
                            raise item
                        yield item
                finally:
                    child.kill()
                    child.join()

            return call

        return decorate


def work(function, arguments: bytes, pipe) -> None:
    """In the fork: send each item that the function yields, then None; or the error that ended it."""
    signal.alarm(SECONDS)  # ends the fork whatever it does, should the interpreter be gone
    try:
        for item in function(*pickle.loads(arguments)):
            refuse_tensors(item)
            pipe.send_bytes(pickle.dumps(("item", item)))
        pipe.send_bytes(pickle.dumps(None))
    except Exception as error:
        pipe.send_bytes(pickle.dumps(("raised", error)))


def refuse_tensors(item) -> None:
    """Raise TypeError where a tensor would cross: on ZeroGPU it would bring CUDA into a process that has none."""
    import torch

    from aim.ui.gpu import changed

    found = []
    changed(item, torch.Tensor, found.append)
    if found:
        raise TypeError("A tensor would cross.")


def answers(vlm) -> dict:
    """One streamed answer and one whole answer from the bundled model."""
    from aim.ui.gpu import placed
    from tests.fakes import make_clip

    forked = Forked()
    remote = placed(vlm, forked)
    streamed = list(remote.stream(make_clip(4), QUESTION, max_new_tokens=4, scores="all"))
    asked = remote.ask(make_clip(4), QUESTION, max_new_tokens=4)
    workers = {child.pid for child in forked.children}
    return {"streamed": streamed, "asked": asked, "estimates": forked.estimates, "workers": workers, "parent": os.getpid()}


def page(vlm) -> dict:
    """What a press on Run gives, with the full model beside it."""
    from aim.ui.gpu import placed
    from aim.ui.handlers import answer
    from aim.ui.stop import StopSignal
    from tests.fakes import make_clip

    forked = Forked()
    screens = list(answer(placed(vlm, forked), page_request(), {}, StopSignal(), read=lambda path, num_frames, stop: make_clip(num_frames)))
    run = screens[-1].run
    return {"answer": run.answer, "full": run.full, "plan": run.plan, "calls": len(forked.children)}


def page_request():
    """The request of the page's scenario."""
    from aim.ui.request import Request

    return Request.of("clip.mp4", QUESTION, 0.5, 2, 5, 3, compare=True, score_every_layer=True)


def refusals(_vlm) -> list[Exception]:
    """What reaches the caller when the model refuses or falls over in the worker."""
    from aim.runtime.faults import NotEnoughMemory
    from aim.ui.gpu import placed
    from tests.fakes import FakeVlm, make_clip

    caught = []
    for error in (ValueError("No such thing."), NotEnoughMemory("Use fewer frames."), RuntimeError("A kernel failed.")):
        try:
            list(placed(FakeVlm(error=error), Forked()).stream(make_clip(), QUESTION, None))
        except Exception as told:
            caught.append(told)
    return caught


def stopped(_vlm) -> dict:
    """A stop after the third answer of ten thousand."""
    from aim.methods import AIM
    from aim.ui.gpu import placed
    from tests.fakes import FakeVlm, make_clip

    forked, stop, texts = Forked(), threading.Event(), []
    remote = placed(FakeVlm(words=("on ",) * 10_000, seconds=0.01), forked)
    for given in remote.stream(make_clip(), QUESTION, AIM(), stop=stop):
        texts.append(given.text)
        if len(texts) == 3:
            stop.set()
    return {"texts": texts, "alive": [child.is_alive() for child in forked.children]}


def tensor(_vlm) -> Exception | None:
    """What a worker says that would send a tensor."""
    import torch

    def run():
        yield {"scores": [torch.ones(2)]}

    try:
        list(Forked()(duration=lambda: 10)(run)())
    except Exception as told:
        return told
    return None


SCENARIOS = (answers, page, refusals, stopped, tensor)

if __name__ == "__main__":
    import tqdm

    import aim

    tqdm.tqdm.monitor_interval = 0  # the bar shown while loading would start a thread to watch itself
    loaded = aim.load("bundled", device="cpu")
    results = {scenario.__name__: scenario(loaded) for scenario in SCENARIOS}
    Path(sys.argv[1]).write_bytes(pickle.dumps(results))
