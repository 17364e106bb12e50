"""What makes odd video files: each maker takes the path to write, and returns it."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.clips import encode, wrote

SMALL = (64, 48)


def clip(**settings) -> Callable[[Path], Path]:
    return lambda path: encode(path, **settings)


def content(data: bytes) -> Callable[[Path], Path]:
    return lambda path: wrote(path, data)


def changed(change: Callable[[Path, Path], Path], **settings) -> Callable[[Path], Path]:
    """`change(source, path)` of a clip with the path's ending and these settings."""
    return lambda path: change(encode(path.with_name("source of " + path.name), **settings), path)


def patched(position: Callable[[bytes], int], data: bytes) -> Callable[[Path, Path], Path]:
    def patch(source: Path, path: Path) -> Path:
        original = source.read_bytes()
        at = position(original)
        return wrote(path, original[:at] + data + original[at + len(data) :])

    return patch


def with_size(width: int, height: int) -> Callable[[Path, Path], Path]:
    """The MP4's sample entry claims another size than the H.264 stream has."""
    return patched(lambda data: data.index(b"avc1", data.index(b"stsd")) + 28, struct.pack(">HH", width, height))


def before(head: bytes) -> Callable[[Path, Path], Path]:
    return lambda source, path: wrote(path, head + source.read_bytes())


def after(tail: bytes) -> Callable[[Path, Path], Path]:
    return lambda source, path: wrote(path, source.read_bytes() + tail)


def gif(frames: int, width: int = 64, height: int = 48, claimed: tuple[int, int] | None = None) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        encode(path, frames=frames, width=width, height=height, codec="gif", pixels="gray", b_frames=0)
        return patched(lambda _: 6, struct.pack("<HH", *claimed))(path, path) if claimed else path

    return make


def sparse(size: int) -> Callable[[Path, Path], Path]:
    """A file of that many bytes that takes up none of them."""

    def make(source: Path, path: Path) -> Path:
        shutil.copy(source, path)
        os.truncate(path, size)
        return path

    return make


def playlist(text: str) -> Callable[[Path], Path]:
    """Text that names another, readable clip."""
    return lambda path: wrote(path, text.replace("OTHER", str(encode(path.with_name("another clip.mp4")))).encode())


def linked(target: str | Callable[[Path], Path]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.unlink(missing_ok=True)
        path.symlink_to(target if isinstance(target, str) else target(path.with_name("linked " + path.name)))
        return path

    return make


def folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def picture(form: str, **options) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        Image.new("RGB", SMALL).save(path, form, **options)
        return path

    return make


def archive(path: Path) -> Path:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        files.writestr("clip.mp4", bytes(100))
    return wrote(path, packed.getvalue())


def series(path: Path) -> Path:
    """A video whose name FFmpeg takes for a numbered series of pictures, and such a series beside it."""
    for number in range(1, 4):
        Image.new("RGB", SMALL).save(path.with_name(f"frame{number:03d}.png"))
    return encode(path, form="mp4")


def with_sound(path: Path) -> Path:
    """A silent track that goes on for 8 seconds beside 2.4 seconds of pictures."""
    with av.open(str(encode(path.with_name("silent.mp4")))) as silent, av.open(str(path), "w") as container:
        pictures, sound = container.add_stream_from_template(silent.streams.video[0]), container.add_stream("aac", rate=16000)
        sound.layout = "mono"
        for packet in silent.demux(video=0):
            if packet.dts is not None:
                packet.stream = pictures
                container.mux(packet)
        for start in range(0, 8 * 16000, 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 16000, start
            container.mux(sound.encode(silence))
        container.mux(sound.encode())
    return path
