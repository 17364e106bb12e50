"""From a checked file to frames: what it is, when its frames appear, which of them are taken, and by which reader.

This module runs in the decoding process. The reader is chosen by what the file is: decord reads what it is known to read right, and PyAV
reads everything else, and whatever decord gives up. Should decord end the whole process, `aim.video.intake.process` starts another one
without it.
"""

from __future__ import annotations

import contextlib

import numpy as np

from aim.video.edit_list import stretches
from aim.video.intake import decord_frames, pyav_frames, still
from aim.video.intake.facts import Facts, facts_of
from aim.video.intake.index import Index, counted, promised
from aim.video.intake.sampling import choose
from aim.video.intake.shape import reduced
from aim.video.intake.timeline import timeline


def read(file: str, demuxer: str, num_frames: int, max_side: int, decord: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """(frames, timestamps, duration); see `aim.video.clip.Clip`.

    Args:
        demuxer: FFmpeg's name of the container that the header check found, or Pillow's of a picture.
        decord: whether decord may read it.

    Raises:
        Refused: the file cannot be read.
        ImportError: PyAV is not installed.
    """
    if demuxer in still.FORMATS:
        return still.read(file, demuxer, max_side)
    facts = facts_of(file, demuxer)
    edits = stretches(file) if demuxer == "mov" else []
    index = promised(file, demuxer)
    if index.certain:
        with contextlib.suppress(pyav_frames.Unlike):
            return _sampled(file, facts, index, edits, num_frames, max_side, decord)
    return _sampled(file, facts, counted(file, demuxer, index), edits, num_frames, max_side, decord)


def _sampled(
    file: str, facts: Facts, index: Index, edits: list, num_frames: int, max_side: int, decord: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    shown = timeline(index, edits)
    picks = choose(shown.starts, shown.duration, num_frames)
    numbers, places = np.unique(shown.numbers[picks], return_inverse=True)
    size = reduced(*facts.shown, max_side)
    whole = len(shown.numbers) == len(index.ticks)
    frames = None
    if decord and decord_frames.decord_is_right(facts, index, whole, size):
        with contextlib.suppress(decord_frames.CannotRead):
            frames = decord_frames.take(file, index, numbers, size)
    if frames is None:
        frames = pyav_frames.take(file, facts.demuxer, index, numbers, size, facts.turn)
    return frames[places], shown.starts[picks], shown.duration
