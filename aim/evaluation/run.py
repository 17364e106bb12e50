"""Run a benchmark: every clip under every setting, on as many processes as there are cores, going on where an earlier run was cut off."""

from __future__ import annotations

import os
from pathlib import Path

from tqdm import tqdm

from aim.evaluation.clips import held_out_clip
from aim.evaluation.measure import Record, measure_clip
from aim.evaluation.pool import in_order, loaded
from aim.evaluation.provenance import code_hash
from aim.evaluation.results import ResultsFolder
from aim.evaluation.settings import Setting
from aim.kernels.refusal import Refusal
from aim.runtime.vlm import VLM
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
    results = ResultsFolder(folder or records_folder(vlm.name, split, weights), weights, split)
    missing = {clip: [setting for setting in settings if (setting.key, clip) not in results] for clip in range(clips)}
    tasks = [(vlm.name, split, clip, todo) for clip, todo in missing.items() if todo]
    with tqdm(total=clips * len(settings), unit=" clip x setting", disable=not progress, smoothing=0.05) as bar:
        bar.update(clips * len(settings) - sum(len(todo) for *_, todo in tasks))
        for records in in_order(_measure, tasks, processes):
            for record in records:
                results.add(record)
                bar.update()
    return [results[setting.key, clip] for setting in settings for clip in range(clips)]


def records_folder(name: str, split: str, weights: str, work: Path = WORK) -> Path:
    """Where the answers of a model are kept unless a folder is named. Other weights or other code have a folder of their own."""
    return work / f"{Path(name).name}-{split}-{weights[:8]}-{code_hash('records')[:8]}"


def _measure(task: tuple[str, str, int, list[Setting]]) -> list[Record]:
    name, split, clip, settings = task
    return list(measure_clip(loaded(name), held_out_clip(clip, split), settings))
