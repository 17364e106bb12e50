"""Run a benchmark: every clip under every setting, on as many processes as there are cores, going on where an earlier run was cut off."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch
from tqdm import tqdm

from aim.evaluation.clips import held_out_clip
from aim.evaluation.measure import Record, measure_clip
from aim.evaluation.results import ResultsFolder, code_digest
from aim.evaluation.settings import Setting
from aim.kernels.refusal import Refusal
from aim.runtime.vlm import VLM, load
from aim.runtime.weights import weights_digest

WORK = Path(".evaluation")


def run(
    vlm: VLM,
    settings: list[Setting],
    clips: int,
    split: str = "test",
    folder: Path | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> list[Record]:
    """Measure what the folder does not hold yet, and return all of it, by setting and clip.

    Answers do not depend on `processes`, or on whether the run was cut off in between: each process computes on one thread, and a clip's
    random numbers are its own.

    Args:
        vlm: from `aim.load`, on the CPU; other processes load it again by its name.
        clips: the first so many clips of the split, ≥ 2.
        folder: where results are kept; by default a folder in `.evaluation/` named after the model, split, weights and code.
        processes: how many at once, ≥ 1; by default one a core.
        progress: whether a bar is shown on stderr.

    Raises:
        Refusal: too few clips or processes, a folder of another run, a setting that does not fit the model.
    """
    if clips < 2:
        raise Refusal(f"clips is {clips}; an interval needs at least 2. Use 200, for example.")
    processes = os.cpu_count() or 1 if processes is None else processes
    if processes < 1:
        raise Refusal(f"processes is {processes}; accepted: 1 or more. Leave it out for one a core.")
    weights = weights_digest(vlm.model)
    results = ResultsFolder(folder or WORK / f"{Path(vlm.name).name}-{split}-{weights[:8]}-{code_digest()[:8]}", weights, split)
    missing = {clip: [setting for setting in settings if (setting.key, clip) not in results] for clip in range(clips)}
    tasks = [(vlm.name, split, clip, todo) for clip, todo in missing.items() if todo]
    with tqdm(total=clips * len(settings), unit=" clip x setting", disable=not progress, smoothing=0.05) as bar:
        bar.update(clips * len(settings) - sum(len(todo) for *_, todo in tasks))
        for records in _measured(vlm, tasks, min(processes, len(tasks))):
            for record in records:
                results.add(record)
                bar.update()
    return [results[setting.key, clip] for setting in settings for clip in range(clips)]


def _measured(vlm: VLM, tasks: list[tuple], processes: int) -> Iterator[list[Record]]:
    """Each task's records, in the order of the tasks."""
    if processes <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for _, split, clip, settings in tasks:
                yield list(measure_clip(vlm, held_out_clip(clip, split), settings))
        finally:
            torch.set_num_threads(threads)
        return
    # Spawned, not forked: a fork of a process that has used torch's threads may hang.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(_measure, tasks)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _measure(task: tuple[str, str, int, list[Setting]]) -> list[Record]:
    name, split, clip, settings = task
    return list(measure_clip(_loaded(name), held_out_clip(clip, split), settings))


@lru_cache(maxsize=1)
def _loaded(name: str) -> VLM:
    """This worker process's model."""
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(1)
    disable_progress_bar()
    return load(name, device="cpu")
