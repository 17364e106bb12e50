"""app.py as a Space starts it, in a process of its own: it reaches for nobody, logs nothing private and meets ZeroGPU's package first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.page import PATIENCE
from tests.visitor import examples

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]

# Stands in for the package `spaces`, and says what had been imported before it. Off ZeroGPU its decorator gives the function back.
SPACES = """
import sys
print("SPACES", "torch" in sys.modules, flush=True)
def GPU(duration):
    return lambda function: function
"""

# Put in front of the app: notes every host that is looked up or connected to, but this machine.
WATCH = """
import socket, sys
def note(host):
    if host not in (None, "", "127.0.0.1", "localhost", "0.0.0.0", "::1", b"localhost"):
        print("REACHED", host, flush=True)
        raise OSError("no network here")
look_up, connect = socket.getaddrinfo, socket.socket.connect
socket.getaddrinfo = lambda host, *a, **k: (note(host), look_up(host, *a, **k))[1]
def connected(self, address):
    note(address[0] if isinstance(address, tuple) else None)
    return connect(self, address)
socket.socket.connect = connected
import app
from aim.ui.page import launch_options
_, address, _ = app.demo.launch(prevent_thread_lock=True, quiet=True, inbrowser=False, **launch_options())
from tests.page import Page
page = Page(address)
print("ANSWERED", list(page.press_run())[-1]["output"]["data"][1]["answer"], flush=True)
page.close()
from gradio.utils import get_upload_folder
print("UPLOADS", get_upload_folder(), flush=True)
app.demo.close()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The process after one answer: its output and what it logged."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / "spaces.py").write_text(SPACES)
    quiet = {
        name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR")
    }
    quiet["PYTHONPATH"] = os.pathsep.join(filter(None, (str(packages), os.environ.get("PYTHONPATH"))))
    return subprocess.run([sys.executable, "-c", WATCH], cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=PATIENCE * 1.5)


def test_the_app_tells_nobody_anything(run):
    assert f"ANSWERED {examples()[0]['answer']}" in run.stdout and "REACHED" not in run.stdout, run.stdout + run.stderr[-2000:]
    lines = [line.split("aim.runs")[1] for line in run.stderr.splitlines() if "aim.runs" in line]
    assert [("outcome=ok" in line, "/" in line) for line in lines] == [(True, False)] * 2  # the setting and the full model


def test_zerogpus_package_is_imported_before_torch_and_the_app_works_with_it(run):
    assert run.stdout.splitlines()[0] == "SPACES False"
    assert "ANSWERED" in run.stdout


def test_uploads_lie_in_a_folder_of_this_app_alone_which_goes_with_it(run):
    (folder,) = [Path(line.split(maxsplit=1)[1]) for line in run.stdout.splitlines() if line.startswith("UPLOADS")]
    assert folder.name.startswith("aim-explorer-") and not folder.exists()
