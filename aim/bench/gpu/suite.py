"""The project's own tests of what a device computes, where pytest and the tests are there."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aim
from aim.bench.gpu.parts import Found, Setting

ROOT = Path(aim.__file__).parent.parent
TESTS = ("tests/kernels", "tests/engine/test_meta.py")
LONGEST = 120  # seconds


def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """Run them in a process of their own, with the releases of torch and transformers that are here."""
    if setting.small:
        return Found({}, "", left_out=["it is left out of a small run"])
    missing = [name for name in ("pytest", "xdist", "pytest_timeout") if importlib.util.find_spec(name) is None]
    missing += [name for name in TESTS if not (ROOT / name).exists()]
    if missing:
        return Found({}, "", left_out=[f"not here: {', '.join(missing)}"])
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", *TESTS]
    printed, status = _printed(command, stop)
    last = printed.rstrip().rpartition("\n")[2]
    if status is None:
        return Found({"last_line": last}, last, left_out=["the tests took too long and were ended"])
    failed = re.findall(r"^(?:FAILED|ERROR) .*", printed, re.M) or ([last] if status else [])
    return Found({"last_line": last}, last, wrong=failed)


def _printed(command: list[str], stop: Callable[[], str]) -> tuple[str, int | None]:
    """(what a command printed, its exit code, or None where it was ended)"""
    end = time.monotonic() + LONGEST
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while True:
            try:
                return process.communicate(timeout=1)[0], process.returncode
            except subprocess.TimeoutExpired:
                if stop() or time.monotonic() > end:
                    process.kill()
                    return process.communicate()[0], None
