"""Small test clips, encoded on the spot with PyAV; every frame carries its own number as black and white blocks."""

from __future__ import annotations

import functools
import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

BIT_ROWS, BIT_COLUMNS = 2, 4


def numbered_frame(number: int, width: int, height: int) -> np.ndarray:
    """An RGB frame [height, width, 3] whose 2×4 blocks are the bits of `number` (0...255), most significant first."""
    bits = np.array([(number >> (7 - bit)) & 1 for bit in range(8)], dtype=np.uint8).reshape(BIT_ROWS, BIT_COLUMNS)
    rows, columns = np.arange(height) * BIT_ROWS // height, np.arange(width) * BIT_COLUMNS // width
    return np.repeat((16 + bits[rows][:, columns] * 224)[..., None], 3, axis=2)


def number_of(frame: np.ndarray) -> int:
    """The number that `numbered_frame` painted, read back from the middles of the blocks."""
    height, width = frame.shape[:2]
    rows = (np.arange(BIT_ROWS) * 2 + 1) * height // (2 * BIT_ROWS)
    columns = (np.arange(BIT_COLUMNS) * 2 + 1) * width // (2 * BIT_COLUMNS)
    bits = frame[rows][:, columns].mean(axis=2).ravel() > 127
    return int(sum(int(bit) << (7 - place) for place, bit in enumerate(bits)))


def numbers_of(frames: np.ndarray) -> list[int]:
    return [number_of(frame) for frame in frames]


def in_a_thread_of_its_own(write):
    """SVT-AV1, where root runs it, gives the calling thread real-time priority over the whole machine. What that thread starts later
    inherits it, and a browser that has it takes all processors from everybody else."""

    @functools.wraps(write)
    def wrapped(*args, **options):
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(write, *args, **options).result()

    return wrapped


@in_a_thread_of_its_own
def encode(
    path: Path,
    frames: int = 24,
    width: int = 64,
    height: int = 48,
    rate: int = 10,
    codec: str = "libx264",
    group: int = 12,
    b_frames: int = 2,
    starts: list[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    form: str | None = None,
    pixel_aspect: Fraction | None = None,
    numbers: list[int] | None = None,
) -> Path:
    """A clip of frames numbered 0, 1, 2... or as given, at a constant `rate` or each starting at the given millisecond."""
    settings = {"preset": "ultrafast", "bf": str(b_frames)} if codec == "libx264" else {}
    with av.open(str(path), "w", format=form, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=settings | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.thread_count = 1  # encoders that wait in a loop for one another stall a busy machine
        stream.codec_context.gop_size = group
        stream.codec_context.max_b_frames = b_frames
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if starts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(
                numbered_frame(number % 256 if numbers is None else numbers[number], width, height), format="rgb24"
            )
            picture.pts = number if starts is None else starts[number]
            picture.time_base = Fraction(1, rate) if starts is None else Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def on_at_centres(starts: list[float], end: float, num_frames: int) -> list[int]:
    """Plain loops: for the centre of each stretch of time, the last frame that has started (a hair early counts, as times are rounded)."""
    count = min(num_frames, len(starts))
    centres = [(index + 0.5) / count * end for index in range(count)]
    return [max(place for place, start in enumerate(starts) if start <= centre + 1e-3) for centre in centres]


def sound_only(path: Path, cover: bool = False) -> Path:
    """A second of silence in a file that is called a video; with a cover picture, as music players write it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame(64, 48, "yuvj420p")))
            container.mux(picture.encode())
        for start in range(0, 16000, 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 16000, start
            container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return path


def without_frames(path: Path) -> Path:
    """A container with a video stream and nothing in it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def _box(data: bytes, kind: bytes) -> int:
    """Where the payload of the first `kind` box of an MP4 file begins (moov after mdat, as PyAV writes it, so boxes may grow)."""
    return data.index(kind) + len(kind)


def rotate(source: Path, path: Path, quarter_turns: int) -> Path:
    """The same MP4 with a display matrix that turns the picture clockwise by quarter_turns·90° (tkhd, ISO 14496-12 8.3.2)."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns % 4]
    return lay(source, path, (cos, sin, -sin, cos))


def lay(source: Path, path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The same MP4 with a display matrix a, b, c, d, which shows the stored point (x, y) at (a·x + c·y, b·x + d·y)."""
    data = bytearray(source.read_bytes())
    a, b, c, d = matrix
    struct.pack_into(">9i", data, _box(data, b"tkhd") + 40, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def trim(source: Path, path: Path, *stretches: tuple[float, float]) -> Path:
    """The same MP4 with an edit list that shows only stretches (start, seconds), as phones trim without encoding again (elst, 8.6.6)."""
    data = bytearray(source.read_bytes())
    (movie_scale,) = struct.unpack_from(">I", data, _box(data, b"mvhd") + 12)
    (media_scale,) = struct.unpack_from(">I", data, _box(data, b"mdhd") + 12)
    edits = _box(data, b"elst")
    (first,) = struct.unpack_from(">i", data, edits + 12)
    entries = [(round(seconds * movie_scale), first + round(start * media_scale), 1 << 16) for start, seconds in stretches]
    data[edits + 4 : edits + 20] = struct.pack(">I", len(entries)) + b"".join(struct.pack(">IiI", *entry) for entry in entries)
    for kind in (b"moov", b"trak", b"edts", b"elst"):
        at = _box(data, kind) - 8
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + 12 * (len(entries) - 1))
    path.write_bytes(data)
    return path


def cut(source: Path, path: Path, share: float) -> Path:
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def cut_in_index(source: Path, path: Path) -> Path:
    """An MP4 that ends a few bytes into its index."""
    data = source.read_bytes()
    return wrote(path, data[: data.index(b"moov") + 20])


def without_times(source: Path, path: Path) -> Path:
    """The same MP4 with all its frames at one moment (stts, ISO 14496-12 8.6.1.2)."""
    data = bytearray(source.read_bytes())
    struct.pack_into(">I", data, _box(data, b"stts") + 12, 0)
    return wrote(path, bytes(data))


def spoil(source: Path, path: Path) -> Path:
    """Bytes overwritten in the middle of the pictures."""
    data = bytearray(source.read_bytes())
    middle = (data.index(b"mdat") + data.index(b"moov")) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    return path


def wrote(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def still_picture(path: Path) -> Path:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux(stream.encode(av.VideoFrame(64, 48, "rgb24")))
        container.mux(stream.encode())
    return path
