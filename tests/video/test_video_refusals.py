"""What `aim.read_video` says about files and arguments it cannot use: what was given, what is accepted, what to do, and no folder names.

Files of every odd kind are in `test_video_odd`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from aim.kernels.refusal import Refusal
from aim.video.clip import MAX_FRAMES_READ, read_video
from tests.clips import encode, numbers_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return encode(folder / "plain.mp4", frames=60)


def refusal(given: object) -> str:
    with pytest.raises(Refusal) as caught:
        read_video(given)
    message = str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert "is not a video this app can read (" in message and "Accepted: MP4, MOV, MKV, WebM, AVI, MPG, GIF, TS." in message
    assert message.endswith(".") and len(message) < 300 and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("given", "shown", "reason"),
    [
        ("https://example.org/private/clip.mp4?token=secret", "clip.mp4", "it is a link"),
        (Path("https://example.org/private/clip.mp4"), "clip.mp4", "it is a link"),
        ("file:///private/clip.mp4", "clip.mp4", "it is a link"),
        ("/private/clip.mp4", "clip.mp4", "no such file"),
        ("C:\\private\\clip.mp4", "clip.mp4", "no such file"),
        ("concat:/private/a.ts|clip.mp4", "clip.mp4", "it is a link"),
        ("/private/\0clip\n.mp4", "clip.mp4", "no such file"),
        ("/private/" + "x" * 5000 + ".mp4", "x" * 76 + ".mp4", "no such file"),
        ("", "What was given", "no file name"),
        (None, "What was given", "NoneType"),
        (b"/private/clip.mp4", "What was given", "bytes"),
    ],
)
def test_only_local_files_are_opened(given: object, shown: str, reason: str):
    message = refusal(given)
    assert shown in message and reason in message
    assert "private" not in message and "secret" not in message


@pytest.mark.skipif(os.name != "posix", reason="names and pipes of POSIX")
def test_a_pipe_that_nobody_fills_and_a_name_that_is_no_text_are_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "no such file" in refusal(tmp_path / "pipe.mp4")
    nameless = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4")
    shutil.copy(encode(tmp_path / "clip.mp4"), nameless)
    assert "its name holds characters" in refusal(nameless)


@pytest.mark.parametrize("name", ["100 %d.mp4", "[1] {a,b}*?.mp4", "-i.mp4", "a:b|c.mp4", "'quoted' & \"twice\".mp4", "clip.ts", "%03d.ts"])
def test_names_that_mean_something_to_ffmpeg_are_only_names(name: str, tmp_path: Path):
    path = encode(tmp_path / name, form="mpegts" if name.endswith(".ts") else "mp4")
    assert numbers_of(read_video(path, 24).frames) == list(range(24))


@pytest.mark.parametrize("num_frames", [0, -1, MAX_FRAMES_READ + 1, 2.0, "8", None, True])
def test_num_frames_out_of_range_is_refused(num_frames: object, plain: Path):
    with pytest.raises(Refusal, match=rf"num_frames is .*accepted: a whole number from 1 to {MAX_FRAMES_READ}\. Set"):
        read_video(plain, num_frames)


@pytest.mark.parametrize("max_side", [0, 15, 100.0, None, True])
def test_max_side_out_of_range_is_refused(max_side: object, plain: Path):
    with pytest.raises(Refusal, match=r"max_side is .*accepted: a whole number of at least 16\. It is in pixels\. Set"):
        read_video(plain, max_side=max_side)
