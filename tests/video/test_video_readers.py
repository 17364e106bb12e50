"""Which of the two readers, decord and PyAV, gets a file, and that both give what was written.

The reader is told from the outside: a module named decord that comes before the real one leaves a mark when it is asked.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from aim.video.clip import read_video
from tests.clips import encode, lay, numbers_of, on_at_centres, trim
from tests.rows import one_in
from tests.video.ordinary import CLIPS

HEVC = {"codec": "libx265", "options": {"x265-params": "log-level=none"}}


def late(seconds: int) -> list[int]:
    return [1000 * seconds + 100 * number for number in range(24)]


def vp9(path: Path) -> Path:
    return encode(path, codec="libvpx-vp9", b_frames=0)


# file → (what makes it, whether decord is right for it)
FILES = {
    "h264.mp4": (encode, True),
    "hevc.mov": (lambda path: encode(path, **HEVC), True),
    "vp9.webm": (vp9, True),
    "h264.mkv": (encode, True),
    "av1.mp4": (lambda path: encode(path, codec="libsvtav1", b_frames=0), False),
    "vp8.webm": (lambda path: encode(path, codec="libvpx", b_frames=0), False),
    "moving.gif": (lambda path: encode(path, codec="gif", pixels="gray", b_frames=0), False),
    "broadcast.ts": (encode, False),
    "camera.avi": (lambda path: encode(path, codec="mpeg4", b_frames=0), False),
    "mirrored.mp4": (lambda path: lay(encode(path.with_name("level.mp4")), path, (-1, 0, 0, 1)), False),
    "turned.mp4": (lambda path: lay(encode(path.with_name("level.mp4")), path, (0, 1, -1, 0)), False),
    "anamorphic.mp4": (lambda path: encode(path, pixel_aspect=Fraction(2, 1)), False),
    "trimmed.mp4": (lambda path: trim(encode(path.with_name("whole.mp4")), path, (0.5, 1)), False),
    "late.mkv": (lambda path: encode(path, b_frames=0, starts=late(100_000)), False),
    "narrow.mp4": (lambda path: encode(path, width=24), False),
}


@pytest.fixture
def decord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`decord(code)` makes that code, after it has left a mark, the module decord."""
    folder = tmp_path / "modules"
    folder.mkdir()

    def put_first(code: str) -> Path:
        (folder / "decord.py").write_text(f"open({str(folder / 'asked')!r}, 'w').close()\n{code}\n")
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return folder / "asked"

    return put_first


@pytest.mark.parametrize("name", one_in(2, FILES))
def test_the_reader_is_chosen_by_what_the_file_is(name: str, tmp_path: Path, decord, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SVT_LOG", "0")
    make, right = FILES[name]
    path = make(tmp_path / name)
    asked = decord("raise ImportError")
    read_video(path, 4)
    assert asked.exists() == right


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    "code",
    one_in(
        3,
        ["import os; os.abort()", "import ctypes; ctypes.string_at(0)", "raise SystemExit", "raise ImportError", "raise OSError", "x = 1"],
    ),
    ids=["aborts", "segfaults", "exits", "is missing", "has no library", "is another package"],
)
def test_whatever_becomes_of_decord_pyav_reads_the_file(code: str, tmp_path: Path, decord):
    asked = decord(code)
    clip = read_video(encode(tmp_path / "clip.mp4"), 24)
    assert asked.exists() and numbers_of(clip.frames) == list(range(24))
    assert clip.timestamps == pytest.approx(np.arange(24) / 10) and clip.duration == pytest.approx(2.4)


@pytest.mark.parametrize("name", one_in(3, CLIPS))
def test_without_decord_the_same_frames_come_at_the_same_times(name: str, tmp_path: Path, decord):
    settings = CLIPS[name]
    path, rate = encode(tmp_path / name, frames=60, **settings), settings.get("rate", 10)
    decord("raise ImportError")
    clip, expected = read_video(path, 16), on_at_centres([number / rate for number in range(60)], 60 / rate, 16)
    assert numbers_of(clip.frames) == expected
    assert clip.timestamps == pytest.approx(np.array(expected) / rate, abs=1e-3) and clip.duration == pytest.approx(60 / rate, abs=1e-3)
