"""Frames come out as a player shows them: turned and mirrored by the display matrix, and with square pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from aim.video.clip import read_video
from tests.clips import encode, lay, numbered_frame, numbers_of

# display matrix a, b, c, d → what it makes of a picture
MATRICES = {
    "level": ((1, 0, 0, 1), lambda picture: picture),
    "quarter turn": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "half turn": ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
    "three quarter turns": ((0, -1, 1, 0), lambda picture: np.rot90(picture, 1)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "upside down": ((1, 0, 0, -1), np.flipud),
    "mirrored and turned": ((0, 1, 1, 0), lambda picture: np.swapaxes(picture, 0, 1)),
    "mirrored and turned back": ((0, -1, -1, 0), lambda picture: np.rot90(np.swapaxes(picture, 0, 1), 2)),
}
CODECS = {
    "mp4": {},
    "mov": {"codec": "mpeg4", "b_frames": 0},
    "m4v": {"form": "mp4", "codec": "libx265", "options": {"x265-params": "log-level=none"}},
}
UNEVEN = 200  # 11001000: no turn or flip of its blocks is itself or another


def stored(width: int, height: int) -> np.ndarray:
    return numbered_frame(UNEVEN, width, height)


def uneven(path: Path, settings: dict, width: int = 96, height: int = 64) -> Path:
    """A clip of a still, uneven picture. It has four frames, since x265 gives a lone one a random time."""
    return encode(path, frames=4, numbers=[UNEVEN] * 4, width=width, height=height, **settings)


# By default each matrix is in one kind of file, and each kind has some of them.
LAID = [
    pytest.param(name, suffix, marks=pytest.mark.whole if (row + column) % len(CODECS) else ())
    for row, name in enumerate(MATRICES)
    for column, suffix in enumerate(CODECS)
]


@pytest.mark.parametrize(("name", "suffix"), LAID)
def test_all_eight_display_matrices_come_out_upright(name: str, suffix: str, tmp_path: Path):
    matrix, show = MATRICES[name]
    path = lay(uneven(tmp_path / f"level.{suffix}", CODECS[suffix]), tmp_path / f"laid.{suffix}", matrix)
    (frame,) = read_video(path, 1).frames
    expected = show(stored(96, 64))
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 10


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.whole if row % 3 else ()) for row, name in enumerate(MATRICES)])
def test_a_matrix_holds_at_a_reduced_size_too(name: str, tmp_path: Path):
    matrix, show = MATRICES[name]
    path = lay(uneven(tmp_path / "level.mp4", {}), tmp_path / "laid.mp4", matrix)
    (frame,) = read_video(path, 1, max_side=48).frames
    expected = show(stored(48, 32))
    assert frame.shape == expected.shape and np.abs(frame.astype(int) - expected).mean() < 14


def disc(path: Path, aspect: Fraction, width: int, height: int, codec: str, pixels: str = "yuv420p") -> Path:
    """A disc that is round, 60 pixels of the finer side across, where pixels have that aspect."""
    y, x = np.mgrid[:height, :width]
    across = (x - width / 2) * float(max(aspect, 1)), (y - height / 2) / float(min(aspect, 1))
    picture = np.repeat((across[0] ** 2 + across[1] ** 2 < 30**2).astype(np.uint8)[..., None] * 240, 3, axis=2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "aspect", "width", "height", "shown"),
    [
        ("wide.mp4", "libx264", Fraction(2, 1), 64, 96, (128, 96)),
        ("tall.mp4", "libx264", Fraction(1, 2), 128, 64, (128, 128)),
        ("wide.mkv", "libx264", Fraction(4, 3), 96, 96, (128, 96)),
        ("dvd.mpg", "mpeg2video", Fraction(2, 1), 64, 96, (128, 96)),
        ("broadcast.ts", "mpeg2video", Fraction(4, 3), 96, 96, (128, 96)),
        ("dv.mov", "mpeg4", Fraction(16, 15), 120, 96, (128, 96)),
        ("wide.avi", "mpeg4", Fraction(3, 2), 96, 96, (144, 96)),
    ],
)
def test_pixels_come_out_square(name: str, codec: str, aspect: Fraction, width: int, height: int, shown: tuple, tmp_path: Path):
    frames = read_video(disc(tmp_path / name, aspect, width, height, codec), 1).frames
    assert frames.shape == (1, shown[1], shown[0], 3)
    bright = frames[0, ..., 0] > 120
    across, down = bright.any(0).sum(), bright.any(1).sum()
    assert abs(across - down) <= 3 and 56 <= down <= 63


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_the_size_at_which_matroska_says_to_show_a_picture_is_kept_to(codec: str, tmp_path: Path):
    path = encode(tmp_path / "clip.mkv", codec=codec, b_frames=0)
    unit, shown = (
        b"\x54\xb2\x81\x04\x55\xee\x81\x00",
        b"\x54\xb0\x81\x60\x54\xba\x81\x30",
    )  # DisplayUnit..., DisplayWidth 96, DisplayHeight 48
    assert path.read_bytes().count(unit) == 1
    path.write_bytes(path.read_bytes().replace(unit, shown))
    clip = read_video(path, 24)
    assert clip.frames.shape == (24, 48, 96, 3) and numbers_of(clip.frames) == list(range(24))


@pytest.mark.parametrize("aspect", [Fraction(1, 1), Fraction(255, 256)])
def test_pixels_that_are_nearly_square_keep_the_size(aspect: Fraction, tmp_path: Path):
    assert read_video(disc(tmp_path / "clip.mp4", aspect, 96, 64, "libx264"), 1).frames.shape == (1, 64, 96, 3)


def test_a_turned_picture_is_stretched_before_it_is_turned(tmp_path: Path):
    path = lay(disc(tmp_path / "wide.mp4", Fraction(2, 1), 64, 96, "libx264"), tmp_path / "turned.mp4", (0, 1, -1, 0))
    (frame,) = read_video(path, 1).frames
    assert frame.shape == (128, 96, 3)


def test_the_longer_side_shown_is_the_one_that_is_limited(tmp_path: Path):
    path = encode(tmp_path / "wide.mp4", frames=3, width=256, height=192, pixel_aspect=Fraction(2, 1))
    clip = read_video(path, 3, max_side=128)
    assert clip.frames.shape == (3, 48, 128, 3) and numbers_of(clip.frames) == [0, 1, 2]


@pytest.mark.parametrize("matrix", [(1, 0, 1, 1), (1, 1, 0, 1), (2, 1, 0, 1)], ids=str)
def test_a_sheared_picture_keeps_its_shape(tmp_path: Path, matrix: tuple[int, int, int, int]):
    path = lay(encode(tmp_path / "plain.mp4"), tmp_path / "sheared.mp4", matrix)
    clip = read_video(path, 24)
    assert clip.frames.shape[1:3] == (48, 64) and numbers_of(clip.frames) == list(range(24))


def test_clear_pixels_are_white_whatever_colour_lies_under_them(tmp_path: Path):
    picture = np.zeros((48, 64, 4), np.uint8)
    picture[..., 0] = 255
    picture[:, 32:, 3], picture[:24, 32:, 3] = 255, 128
    with av.open(str(tmp_path / "clear.mov"), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgba"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgba")))
        container.mux(stream.encode())
    frame = read_video(tmp_path / "clear.mov", 1).frames[0]
    assert [frame[10, 5].tolist(), frame[40, 50].tolist(), frame[10, 50].tolist()] == [[255, 255, 255], [255, 0, 0], [255, 127, 127]]
