"""vLLM's server of the bundled checkpoint, as aim/serving/README.md starts it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from openai import APIConnectionError, OpenAI

ROOT = Path(__file__).parents[3]
# The README's own command, so that the two cannot part.
COMMAND = re.search(
    r"^python -m vllm\.entrypoints\.openai\.api_server.*?[^\\]$", (ROOT / "aim/serving/README.md").read_text(), re.M | re.S
).group()
START_SECONDS = 400


def command() -> list[str]:
    """The documented command, in parts."""
    return shlex.split(COMMAND.replace("\\\n", " "))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def server(log: Path):
    """(process, client) of a server that answers; it is ended, with all that it started, at the end."""
    port = free_port()
    line = [sys.executable, *command()[1:], "--host", "127.0.0.1", "--port", str(port), "--enable-prompt-tokens-details"]
    with log.open("w") as written:
        process = subprocess.Popen(line, cwd=ROOT, stdout=written, stderr=subprocess.STDOUT, start_new_session=True)
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=300)
    try:
        _wait(process, client, log)
        yield process, client
    finally:
        kill(process)


def kill(process: subprocess.Popen) -> None:
    """End a server and its engine at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen, client: OpenAI, log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and process.poll() is None:
        try:
            client.models.list()
            return
        except APIConnectionError:  # not yet
            time.sleep(0.5)
    raise RuntimeError(f"The server did not start:\n{log.read_text()[-4000:]}")
