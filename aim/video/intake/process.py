"""One decoding process for each video: it is started, its frames come through a pipe, and it is ended.

A decoder that hangs, aborts or takes too much memory so costs one refusal. The process is a fresh interpreter rather than a fork, because
the caller has threads and perhaps CUDA, and neither survives a fork. What comes back is a line of JSON and plain bytes, which are checked
against what was asked for.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import numpy as np

from aim.video.intake.limits import MAX_GIGABYTES_TO_READ, MAX_SECONDS_TO_READ
from aim.video.intake.refusals import REASONS, Refused
from aim.video.intake.worker import READY, end

_ROOT = Path(__file__).resolve().parents[3]
_LONGEST_LINE = 1 << 12  # bytes
_GLANCE = 0.1  # seconds between looks at the stop signal
# NumPy computes nothing in the decoding process, and glibc reserves address space for every thread that allocates.
_FEW = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def decode(
    file: str, demuxer: str, num_frames: int, max_side: int, stop: threading.Event | None = None, seconds: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """(frames, timestamps, duration) of a checked file (`aim.video.intake.header.checked_file`); see `aim.video.clip.Clip`.

    Where the process breaks down, another one tries without decord, within the time that is left.

    Args:
        stop: ends the reading when set.
        seconds: wall time allowed, MAX_SECONDS_TO_READ if left out.

    Raises:
        Refused: the file cannot be read, or not within time and memory; the reason is "stopped" after `stop`.
        ImportError: PyAV is not installed.
        RuntimeError: Python itself could not be started again.
    """
    deadline = time.monotonic() + (MAX_SECONDS_TO_READ if seconds is None else seconds)
    video = {"file": file, "demuxer": demuxer, "num_frames": num_frames, "max_side": max_side}
    try:
        return _decode(video | {"decord": True}, deadline, stop)
    except Refused as refused:
        if refused.reason != "crash":
            raise
    return _decode(video | {"decord": False}, deadline, stop)


def _decode(video: dict[str, Any], deadline: float, stop: threading.Event | None) -> tuple[np.ndarray, np.ndarray, float]:
    """One decoding process, from its start to its end."""
    seconds = max(0.0, deadline - time.monotonic())
    request = {"bytes": int(MAX_GIGABYTES_TO_READ * 1_000_000_000), "seconds": math.ceil(seconds), "video": video}
    process = _start()
    done, expired = threading.Event(), threading.Event()
    watch = threading.Thread(target=_watch, args=(process.pid, deadline, done, expired, stop), daemon=True)
    watch.start()
    begun = False
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()  # and left open: its end tells the process that we are gone
        begun = process.stdout.readline(len(READY)) == READY
        output = cast(BufferedReader, process.stdout)  # a pipe is one, and Popen's annotation leaves it open
        return _receive(output, video["num_frames"], video["max_side"])
    except (EOFError, OSError, ValueError, TypeError, AttributeError, OverflowError):
        pass  # told below, by what is known of the process
    finally:
        done.set()
        watch.join()  # so that it cannot kill a process that has our process's number later
        end(process.pid)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.wait()
    if stop is not None and stop.is_set():
        raise Refused("stopped")
    if expired.is_set():
        raise Refused("time")
    if not begun:
        raise RuntimeError(
            "The decoding process does not start. To see why, run `python -m aim.video.intake.worker` in the project's folder."
        )
    raise Refused("crash")


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "aim.video.intake.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # codecs quote the path in their messages
        env=os.environ | {"PYTHONPATH": path} | _FEW,
        start_new_session=os.name != "nt",
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _watch(pid: int, deadline: float, done: threading.Event, expired: threading.Event, stop: threading.Event | None) -> None:
    """Kill the process when its time is over or `stop` is set, unless it is done before."""
    while (left := deadline - time.monotonic()) > 0 and not (stop is not None and stop.is_set()):
        if done.wait(left if stop is None else min(_GLANCE, left)):
            return
    expired.set()
    end(pid)


def _receive(output: BufferedReader, num_frames: int, max_side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The answer, checked field by field, because a process that a video has taken over could write anything."""
    header = json.loads(output.readline(_LONGEST_LINE) or b"{}")
    if header.get("refused") == "import":
        raise ImportError
    if header.get("refused") in REASONS:
        raise Refused(header["refused"], float(header.get("given", 0)))
    shape, duration = header.get("frames", []), header.get("duration", -1)
    if len(shape) != 3 or not _plausible(shape, num_frames, max_side) or not 0 <= duration < math.inf:
        raise EOFError
    timestamps, frames = np.empty(shape[0]), np.empty((*shape, 3), dtype=np.uint8)
    _fill(output, timestamps)
    _fill(output, frames)
    if not np.isfinite(timestamps).all() or timestamps[0] < 0 or (np.diff(timestamps) < 0).any():
        raise EOFError
    return frames, timestamps, float(duration)


def _plausible(shape: list[Any], num_frames: int, max_side: int) -> bool:
    return all(isinstance(given, int) and 1 <= given <= most for given, most in zip(shape, (num_frames, max_side, max_side), strict=True))


def _fill(output: BufferedReader, array: np.ndarray) -> None:
    view = array.data.cast("B")
    while len(view):
        count = output.readinto(view)
        if not count:
            raise EOFError
        view = view[count:]
