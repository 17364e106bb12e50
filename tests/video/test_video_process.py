"""The decoding process: whatever happens in there, the caller gets one sentence, and nothing stays behind.

A decoder that fails as wanted is a module named av or decord that comes before the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from aim.kernels.refusal import Refusal
from aim.video.clip import LIMITS, read_video
from aim.video.intake import limits
from aim.video.intake.header import checked_file, checked_image
from aim.video.intake.process import decode
from aim.video.intake.refusals import Refused
from aim.video.intake.worker import end
from tests.clips import encode, numbers_of
from tests.rows import one_in

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="process groups and limits of POSIX")
FAILURES = {
    "hangs": ("import time; time.sleep(999)", "longer than the limit of 60 seconds"),
    "hangs with the interpreter locked": ("import ctypes; ctypes.PyDLL(None).pause()", "longer than the limit of 60 seconds"),
    "never stops printing": ("while True: print('x' * 999)", "longer than the limit of 60 seconds"),
    "aborts": ("import os; os.abort()", "the decoder breaks down on it"),
    "segfaults": ("import ctypes; ctypes.string_at(0)", "the decoder breaks down on it"),
    "is killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the decoder breaks down on it"),
    "raises": ("raise SystemError", "the decoder breaks down on it"),
    "exits": ("raise SystemExit", "the decoder breaks down on it"),
    "wants all memory": ("bytearray(10**12)", "more memory than the limit of 6 GB"),
}
LIES = {
    "a pickle": b"\x80\x04\x95",
    "a list": b"[]\n",
    "too many frames": b'{"frames": [999999, 999999, 999999], "duration": 1}\n',
    "frames of no size": b'{"frames": [0, 8, 8], "duration": 1}\n',
    "words for numbers": b'{"frames": ["1", "8", "8"], "duration": 1}\n',
    "no duration": b'{"frames": [1, 8, 8], "duration": NaN}\n',
    "less than promised": b'{"frames": [1, 8, 8], "duration": 1}\n' + bytes(50),
    "times that run backwards": b'{"frames": [2, 1, 1], "duration": 1}\n' + b"\0" * 6 + b"\xf0\x3f" + bytes(8 + 6),
    "a sentence of its own": b'{"refused": "<script>"}\n',
    "an endless line": b"x" * 100_000,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`use(code)` makes that code the module av, without which nothing is read, or another module."""

    def put_first(code: str, module: str = "av") -> None:
        (tmp_path / f"{module}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return put_first


def refusal(path: Path, **arguments) -> str:
    with pytest.raises(Refusal) as caught:
        read_video(path, 4, **arguments)
    message = str(caught.value)
    assert message.startswith(f"{path.name} is not a video this app can read (") and "/" not in message and "\n" not in message
    return message


def seconds_of_one_reading(path: Path) -> float:
    """What starting the process and reading take here and now: half a second, or many on a busy machine."""
    began = time.monotonic()
    read_video(path, 4)
    return time.monotonic() - began


def gone(pid: int, patience: float = 20.0) -> bool:
    """Whether the process ends within that many seconds: it no longer exists, or only as a name that somebody has yet to collect."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def marks(folder: Path) -> list[int]:
    """Process numbers that processes have left as names of empty files."""
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]


def wait_for_mark(folder: Path) -> int:
    deadline = time.monotonic() + 60
    while not marks(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return marks(folder)[0]


@posix
@pytest.mark.parametrize("failure", one_in(3, FAILURES))
def test_a_decoder_that_fails_costs_one_sentence_and_the_next_file_reads(
    failure: str, clip: Path, tmp_path: Path, use, monkeypatch: pytest.MonkeyPatch
):
    code, reason = FAILURES[failure]
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    if "longer than" in reason:
        monkeypatch.setattr("aim.video.intake.process.MAX_SECONDS_TO_READ", max(2, 5 * seconds_of_one_reading(clip)))
    use(f"import os\nopen({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close()\n{code}")
    assert reason in refusal(clip)
    pids = marks(tmp_path)
    assert len(pids) == (2 if "breaks down" in reason else 1)  # a breakdown is followed by a second try
    for pid in pids:
        with pytest.raises(ProcessLookupError):  # collected too: not even a zombie
            os.kill(pid, 0)
    monkeypatch.undo()
    assert numbers_of(read_video(clip, 24).frames) == list(range(24))
    if before:
        assert len(os.listdir("/proc/self/fd")) == len(before)


def saying(answer: bytes) -> str:
    """A module that answers in the process's place, on whichever number its output has."""
    return f"import os\nfor number in range(3, 20):\n    try: os.write(number, {answer!r})\n    except OSError: pass\nos._exit(0)"


@posix
def test_an_answer_is_a_line_of_json_and_bytes(clip: Path, use):
    use(saying(b'{"frames": [1, 2, 2], "duration": 1}\n' + bytes(8) + bytes(range(12))))
    assert read_video(clip).frames.ravel().tolist() == list(range(12))


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_a_video_that_needs_more_memory_than_allowed_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    large = encode(tmp_path / "large.mp4", frames=6, width=3840, height=2160)
    assert read_video(large, 4).frames.shape == (4, 360, 640, 3)
    for gigabytes in (0.16, 0.25, 0.4):  # the least is not enough for the libraries
        monkeypatch.setattr("aim.video.intake.process.MAX_GIGABYTES_TO_READ", gigabytes)
        assert "more memory than the limit of 6 GB" in refusal(large), gigabytes


@posix
@pytest.mark.parametrize("lie", one_in(3, LIES))
def test_an_answer_that_cannot_be_is_not_taken(lie: str, clip: Path, use):
    use(saying(LIES[lie]))
    assert "the decoder breaks down on it" in refusal(clip)


@posix
def test_a_killed_caller_takes_the_decoding_process_with_it(clip: Path, tmp_path: Path):
    (tmp_path / "av.py").write_text(f"import os, time\nopen({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close()\ntime.sleep(999)")
    code = f"from aim.video.clip import read_video; read_video({str(clip)!r})"
    caller = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}, start_new_session=True
    )
    pid = wait_for_mark(tmp_path)
    assert not gone(pid, 0.3)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert gone(pid)


@posix
def test_stop_ends_the_reading_at_once(clip: Path, tmp_path: Path, use):
    use(f"import os, time\nopen({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close()\ntime.sleep(999)")
    stop = threading.Event()
    watcher = threading.Thread(target=lambda: (wait_for_mark(tmp_path), stop.set()))
    watcher.start()
    assert "reading it was stopped" in refusal(clip, stop=stop)
    watcher.join()
    assert gone(marks(tmp_path)[0])


def test_a_stop_that_is_not_set_changes_nothing(clip: Path):
    assert read_video(clip, 8, stop=threading.Event()) == read_video(clip, 8)


def test_python_that_does_not_start_is_our_error_not_the_videos(clip: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/false" if os.name == "posix" else "where.exe")
    with pytest.raises(RuntimeError, match=r"does not start. To see why, run `python -m aim.video.intake.worker`"):
        read_video(clip)


def test_the_process_loads_neither_torch_nor_gradio():
    heavy = ("torch", "transformers", "gradio", "plotly")
    code = f"import sys, aim.video.intake.worker, av, decord; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@posix
def test_ending_a_process_that_is_gone_does_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    end(process.pid)


def test_without_av_it_is_said_what_to_install(clip: Path, use):
    use("raise ImportError")
    with pytest.raises(ImportError, match="needs the package av, which cannot be imported. Run `pip install av`"):
        read_video(clip)


def test_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SVT_LOG", "0")
    paths = [
        encode(tmp_path / "clip.gif", codec="gif", pixels="gray", b_frames=0),
        encode(tmp_path / "clip.ts"),
        encode(tmp_path / "clip.mp4", codec="libsvtav1", b_frames=0),
    ]
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).write_text(f"#!/bin/sh\n: > {tmp_path}/$$\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for path in paths:
        assert numbers_of(read_video(path, 24).frames) == list(range(24))
    assert not marks(tmp_path)


def test_the_sentence_of_limits_names_each_of_them():
    for limit in (limits.FORMATS, limits.MAX_UPLOAD_MEGABYTES, limits.MAX_HOURS, limits.MAX_FRAMES_READ, limits.MAX_SECONDS_TO_READ):
        assert str(limit) in LIMITS


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "still.png"])
def test_a_file_that_is_taken_away_after_its_check_is_called_missing_and_not_damaged(name: str, tmp_path: Path):
    if name == "still.png":
        Image.new("RGB", (32, 32)).save(tmp_path / name)
        _, file, kind = checked_image(tmp_path / name)
    else:
        clip = encode(tmp_path / name, codec="gif", b_frames=0, pixels="rgb8") if name == "clip.gif" else encode(tmp_path / name)
        _, file, kind = checked_file(clip)
    (tmp_path / name).unlink()
    with pytest.raises(Refused) as refused:
        decode(file, kind, 2, 64)
    assert refused.value.reason == "missing"
