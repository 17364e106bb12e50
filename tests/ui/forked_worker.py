"""ZeroGPU in small: an interpreter of its own that holds the model and forks for each call, as the package `spaces` does.

A fork copies the locks of every thread and the threads of none, so forking a process that has computed can hang for ever. This file is
therefore started with `python -m tests.ui.forked_worker`: the interpreter loads the model, computes nothing, and refuses to fork once it
has a second thread. What happened in the scenarios below goes to a file as one pickled dictionary, and the tests compare it with what
happens in their own process.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "HF_DEACTIVATE_ASYNC_LOAD"), "1")
SECONDS = 90  # far more than the scenarios take on a busy machine
QUESTION = "what colour is the circle?"
METHODS_COMPARED = ("aim", "fastv", "tome", "random")


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
                refuse_tensors(arguments)
                self.estimates.append(duration(*arguments))
                refuse_threads()
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


def refuse_threads() -> None:
    """Raise RuntimeError while this process has a second thread; one that has just been joined takes a moment to end."""
    patience = time.monotonic() + 5
    while (threads := len(os.listdir("/proc/self/task"))) > 1:
        if time.monotonic() > patience:
            raise RuntimeError(f"{threads} threads run here, so a fork could hang.")
        time.sleep(0.001)


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


class TowerPasses:
    """Counts passes of a model's vision tower in this process and in its forks, which share the number's memory."""

    def __init__(self, vlm):
        self._count = mmap.mmap(-1, 1)
        self._hook = vlm.model.model.vision_tower.register_forward_pre_hook(self._note)

    def _note(self, _module, _arguments) -> None:
        self._count[0] += 1

    def taken(self) -> int:
        """The passes since this was last asked."""
        passes, self._count[0] = self._count[0], 0
        return passes

    def end(self) -> None:
        """Stop counting."""
        self._hook.remove()


def arguments_of() -> dict[str, dict]:
    """What each job is asked for in the tests; the guard's answer comes from the job `ask`."""
    from aim.methods import AIM
    from aim.tuning.budget import Budget
    from tests.fakes import make_clip

    asked = {"clip": make_clip(4), "question": QUESTION}
    method = AIM(merge_ratio=0.5, l1=2, l2=5)
    return {
        "ask": {**asked, "method": method, "max_new_tokens": 4, "scores": "all", "compare": True},
        "compare": {**asked, "names": list(METHODS_COMPARED), "reduction": 4.0, "max_new_tokens": 3},
        "tune": {**asked, "budget": Budget.parse("4x"), "max_prefills": 6},
        "spend": {**asked, "more": make_clip(7), "method": method, "max_new_tokens": 3},
        "guard": asked,
    }


def play_jobs(vlm, model, forked=None) -> dict:
    """For each job: its results, its passes of the vision tower, and the calls of the worker where there is one."""
    from dataclasses import replace

    passes, told = TowerPasses(vlm), {}
    for name, arguments in arguments_of().items():
        if name == "guard":
            first = [said.answer for said in told["ask"]["results"] if not said.by_full][-1]
            arguments = arguments | {"answer": replace(first, trace=None)}
        calls = len(forked.children) if forked else 0
        results = list(model.run(name, threading.Event(), **arguments))
        told[name] = {"results": results, "passes": passes.taken()}
        if forked:
            told[name] |= {"calls": len(forked.children) - calls, "estimate": forked.estimates[-1]}
        vlm.features.clear()
    passes.end()
    return told


def jobs(vlm) -> dict:
    """Every job on the bundled model, in forks."""
    from aim.ui.gpu import placed

    forked = Forked()
    told = play_jobs(vlm, placed(vlm, forked), forked)
    return {"told": told, "workers": {child.pid for child in forked.children}, "parent": os.getpid()}


def page(vlm) -> dict:
    """What a press on Run gives, with the full model beside it."""
    from aim.ui.gpu import placed
    from aim.ui.handlers import answer
    from aim.ui.stop import StopSignal
    from tests.fakes import make_clip

    forked = Forked()
    screens = list(answer(placed(vlm, forked), page_request(), StopSignal(), read=lambda path, num_frames, stop: make_clip(num_frames)))
    run = screens[-1].run
    return {"answer": run.answer, "full": run.full, "plan": run.plan, "calls": len(forked.children)}


def page_request():
    """The request of the page's scenario."""
    from aim.ui.request import Request

    return Request.of("clip.mp4", QUESTION, 0.5, 2, 5, 3, compare=True, score_every_layer=True)


def fake_arguments() -> dict:
    """What the job `ask` takes, for a model that is not one."""
    from aim.methods import AIM
    from tests.fakes import make_clip

    return {"clip": make_clip(), "question": QUESTION, "method": AIM(), "max_new_tokens": 4}


def refusals(_vlm) -> list[Exception]:
    """What reaches the caller when the model refuses or falls over in the worker."""
    from aim.kernels.refusal import Refusal
    from aim.runtime.faults import NotEnoughMemory
    from aim.ui.gpu import placed
    from tests.fakes import FakeVlm

    caught = []
    for error in (Refusal("No such thing."), NotEnoughMemory("Use fewer frames."), RuntimeError("A kernel failed.")):
        try:
            list(placed(FakeVlm(error=error), Forked()).run("ask", threading.Event(), **fake_arguments()))
        except Exception as told:
            caught.append(told)
    return caught


def stopped(_vlm) -> dict:
    """A stop after the third answer of ten thousand."""
    from aim.ui.gpu import placed
    from tests.fakes import FakeVlm

    forked, stop, answers = Forked(), threading.Event(), []
    model = placed(FakeVlm(words=("on ",) * 10_000, seconds=0.01), forked)
    for said in model.run("ask", stop, **fake_arguments()):
        answers.append(said.answer)
        if len(answers) == 3:
            stop.set()
    return {"answers": answers, "alive": [child.is_alive() for child in forked.children]}


def silent(_vlm) -> dict:
    """A stop while the worker says nothing, and a caller who leaves early."""
    from aim.ui.gpu import placed
    from tests.fakes import FakeVlm

    class Silent(FakeVlm):
        def stream(self, *_arguments, stop, **_options):
            while not stop.is_set():
                time.sleep(0.01)
            yield from ()

    class Later:
        """Set half a second from now on."""

        def __init__(self):
            self.when = time.monotonic() + 0.5

        def is_set(self):
            return time.monotonic() > self.when

    forked = Forked()
    results = list(placed(Silent(), forked).run("ask", Later(), **fake_arguments()))
    left = placed(FakeVlm(words=("on ",) * 10_000, seconds=0.01), forked).run("ask", threading.Event(), **fake_arguments())
    next(left)
    left.close()
    return {"results": results, "alive": [child.is_alive() for child in forked.children], "threads": threading.active_count()}


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


SCENARIOS = (jobs, page, refusals, stopped, silent, tensor)

if __name__ == "__main__":
    import tqdm

    import aim

    tqdm.tqdm.monitor_interval = 0  # the bar shown while loading would start a thread to watch itself
    loaded = aim.load("bundled", device="cpu")
    results = {scenario.__name__: scenario(loaded) for scenario in SCENARIOS}
    Path(sys.argv[1]).write_bytes(pickle.dumps(results))
