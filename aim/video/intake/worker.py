"""The decoding process. It reads one request from its input, writes one answer to its output, and ends.

It imports NumPy, Pillow, PyAV and decord, and nothing heavier. `aim.video.intake.process` starts it, and kills it when it takes too long.
Where the process that started it is killed, this one sees its input end and ends too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any, BinaryIO

import numpy as np

from aim.video.intake.reading import read
from aim.video.intake.refusals import Refused

READY = b"ready\n"
_NEARLY = 0.75  # share of the allowed address space; what a codec asks for at once is a fraction of that space
_GRACE = 5  # seconds over the time allowed, after which the process ends by itself


def main() -> None:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that what a codec prints does not mix with the answer
    request = json.loads(sys.stdin.buffer.readline())
    _limit(int(request["bytes"]), int(request["seconds"]))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    timer = threading.Timer(request["seconds"] + _GRACE, end, [os.getpid()])
    timer.daemon = True
    timer.start()
    output.write(READY)
    output.flush()
    try:
        frames, timestamps, duration = read(**request["video"])
    except Refused as refused:
        _write(output, {"refused": _reason(refused, request), "given": refused.given})
    except MemoryError:
        _write(output, {"refused": "memory"})
    except ImportError:  # also where there is no memory for a library
        _write(output, {"refused": "memory" if _starved(request["bytes"]) else "import"})
    else:
        _write(output, {"frames": frames.shape[:3], "duration": duration}, timestamps.astype(np.float64), frames)
    os._exit(0)  # decord's own ending has been seen to hang


def _reason(refused: Refused, request: dict[str, Any]) -> str:
    """Codecs report a broken file also where they get no memory, or where the file has been taken away since it was checked."""
    if refused.reason != "damaged":
        return refused.reason
    if not os.access(request["video"]["file"], os.R_OK):
        return "missing"
    return "memory" if _starved(request["bytes"]) else "damaged"


def end(pid: int) -> None:
    """Kill a decoding process and whatever it may have started. Where it has ended already, this does nothing."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _write(output: BinaryIO, header: dict[str, Any], *arrays: np.ndarray) -> None:
    with contextlib.suppress(BrokenPipeError):
        output.write(json.dumps(header).encode() + b"\n")
        for array in arrays:
            output.write(np.ascontiguousarray(array).data.cast("B"))
        output.flush()


def _limit(size: int, seconds: int) -> None:
    """Limit address space and processor time where the system can, and switch core dumps off."""
    try:
        import resource
    except ImportError:
        return
    limits = {resource.RLIMIT_AS: size, resource.RLIMIT_CPU: (seconds + _GRACE) * (os.cpu_count() or 1), resource.RLIMIT_CORE: 0}
    for kind, limit in limits.items():
        with contextlib.suppress(OSError, ValueError):
            allowed = resource.getrlimit(kind)[1]
            limit = limit if allowed == resource.RLIM_INFINITY else min(limit, allowed)
            resource.setrlimit(kind, (limit, limit))


def _starved(allowed: int) -> bool:
    """Whether this process has come near the bytes of address space it is allowed. Only Linux tells."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as status:
        highest = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmPeak:"))
        return highest > _NEARLY * allowed
    return False


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(1):
        pass
    end(os.getpid())


if __name__ == "__main__":
    main()
