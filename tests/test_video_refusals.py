"""What `aim.read_video` says about files and arguments it cannot use: what was given, what is accepted, what to do, and no folder names."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from aim.video import MAX_FRAMES, read_video
from tests.clips import cut, encode, sound_only, spoil, still_picture, without_frames, wrote


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return encode(folder / "plain.mp4", frames=60)


UNREADABLE = {
    "empty.mp4": (lambda path: wrote(path, b""), "it is empty"),
    "short.mp4": (lambda path: wrote(path, b"\0\0"), "none of the accepted formats"),
    "text.mp4": (lambda path: wrote(path, b"Dear diary,\n" * 50), "none of the accepted formats"),
    "noise.mp4": (lambda path: wrote(path, np.random.default_rng(0).bytes(5000)), "none of the accepted formats"),
    "picture.mp4": (still_picture, "none of the accepted formats"),
    "header only.mp4": (lambda path: wrote(path, b"\0\0\0\x18ftypisom" + bytes(40)), "damaged"),
    "header only.avi": (lambda path: wrote(path, b"RIFF\0\0\0\0AVI " + bytes(40)), "damaged"),
    "header only.mkv": (lambda path: wrote(path, b"\x1a\x45\xdf\xa3" + bytes(40)), "damaged"),
    "sound only.mp4": (sound_only, "no video track"),
    "cover.mp4": (lambda path: sound_only(path, cover=True), "such as a cover"),
    "no frames.mp4": (without_frames, "no video track"),
    "av1.mp4": (lambda path: encode(path, codec="libsvtav1", b_frames=0), "AV1"),
    "no index.mp4": (lambda path: cut(encode(path), path, 0.5), "damaged"),
    "index first.mp4": (lambda path: cut(encode(path, container_options={"movflags": "faststart"}), path, 0.7), "damaged"),
    "spoilt.mp4": (lambda path: spoil(encode(path, frames=100), path), "damaged"),
}


def refusal(given: object) -> str:
    with pytest.raises(ValueError) as caught:
        read_video(given)
    message = str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert "is not a video this app can read (" in message and "Accepted: MP4, MOV, MKV, WebM, AVI, MPG." in message
    assert message.endswith(".") and len(message) < 300 and "\n" not in message
    return message


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files_are_refused_by_name_in_a_sentence_that_says_why(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SVT_LOG", "0")
    make, reason = UNREADABLE[name]
    message = refusal(make(folder / name))
    assert message.startswith(f"{name} is not") and reason in message
    assert str(folder) not in message and "/" not in message


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


def test_a_folder_is_refused(folder: Path):
    assert refusal(folder).startswith(f"{folder.name} is not")


def test_a_playlist_under_a_video_name_does_not_lead_to_another_file(plain: Path, folder: Path):
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:6.0,\n{plain}\n#EXT-X-ENDLIST\n"
    assert "none of the accepted formats" in refusal(wrote(folder / "list.mp4", playlist.encode()))


def test_damage_anywhere_gives_frames_or_a_refusal(folder: Path):
    random = np.random.default_rng(0)
    for source in (encode(folder / "whole.mp4"), encode(folder / "whole.mkv"), encode(folder / "whole.avi")):
        for _ in range(8):
            data = bytearray(source.read_bytes())
            for at in random.integers(16, len(data), 6):
                data[at] = random.integers(256)
            try:
                clip = read_video(wrote(folder / f"damaged{source.suffix}", bytes(data)), 4)
            except ValueError as error:
                assert "is not a video this app can read" in str(error)
            else:
                assert clip.frames.shape[3] == 3 and (np.diff(clip.timestamps) >= 0).all() and clip.timestamps[0] >= 0


@pytest.mark.parametrize("num_frames", [0, -1, MAX_FRAMES + 1, 2.0, "8", None, True])
def test_num_frames_out_of_range_is_refused(num_frames: object, plain: Path):
    with pytest.raises(ValueError, match=rf"num_frames is .*accepted: a whole number from 1 to {MAX_FRAMES}\. Set"):
        read_video(plain, num_frames)


@pytest.mark.parametrize("max_side", [0, 15, 100.0, None, True])
def test_max_side_out_of_range_is_refused(max_side: object, plain: Path):
    with pytest.raises(ValueError, match=r"max_side is .*accepted: a whole number of pixels, 16 or more\. Set"):
        read_video(plain, max_side=max_side)


def test_a_missing_decord_is_explained(plain: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(ImportError, match="pip install decord.*pip install eva-decord"):
        read_video(plain)
