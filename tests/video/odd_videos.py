"""Odd video files of many kinds, each with what must come of it: `python -m tests.video.odd_videos FOLDER` makes them all and reads them.

An outcome is a reason of `aim.video.intake.refusals.REASONS`, or the width and height of the frames. Which frames those are is another
decoder's word (PyAV, `tests.clips.second_opinion`).
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from tests.clips import cut, encode, rotate, sound_only, spoil, still_picture, trim, without_frames, wrote

FFMPEG = shutil.which("ffmpeg")
SMALL = (64, 48)
TENTHS = tuple(number / 10 for number in range(10))  # FFmpeg leaves a gap of a frame between two stretches, the standard none
HELD = [0, 100, 200, 300, 1300, 1400, 1500, 5000, 5040, 5080]


class Odd(NamedTuple):
    """`without_ffmpeg` is the outcome where ffmpeg is not installed, if that differs; `seconds`, where given, how long it lasts.

    `turns` are the quarter turns clockwise that bring its frames upright; `starts` when they appear, where PyAV's word is not to be had.
    """

    make: Callable[[Path], Path]
    outcome: str | tuple[int, int]
    without_ffmpeg: str | None = None
    seconds: float | None = None
    turns: int = 0
    starts: tuple[float, ...] | None = None

    @property
    def expected(self) -> str | tuple[int, int]:
        return self.outcome if FFMPEG or self.without_ffmpeg is None else self.without_ffmpeg


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


def renamed(source: Path, path: Path) -> Path:
    return Path(shutil.copy(source, path))


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


AV1 = {"codec": "libsvtav1", "b_frames": 0, "options": {"svtav1-params": "lp=1"}}
FIRST = {"container_options": {"movflags": "faststart"}}
FRAGMENTS = {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:6.0,\nOTHER\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
DASH = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>OTHER</BaseURL></Period></MPD>'

CODECS = {
    "h264.mp4": Odd(clip(), SMALL, seconds=2.4),
    "hevc.mp4": Odd(clip(codec="libx265", options={"x265-params": "log-level=none"}), SMALL),
    "vp8.webm": Odd(clip(codec="libvpx", b_frames=0), SMALL),
    "vp9.webm": Odd(clip(codec="libvpx-vp9", b_frames=0), SMALL),
    "mpeg4.avi": Odd(clip(codec="mpeg4", b_frames=0), SMALL),
    "mjpeg.avi": Odd(clip(codec="mjpeg", b_frames=0, pixels="yuvj420p"), SMALL),
    "huffyuv.avi": Odd(clip(codec="huffyuv", b_frames=0, pixels="yuv422p"), SMALL),
    "mpeg1.mpg": Odd(clip(codec="mpeg1video", rate=25), SMALL),
    "mpeg2.mpg": Odd(clip(codec="mpeg2video", rate=25), SMALL),
    "prores.mov": Odd(clip(codec="prores_ks", b_frames=0, pixels="yuv422p10le"), SMALL),
    "animation.mov": Odd(clip(codec="qtrle", b_frames=0, pixels="rgb24"), SMALL),
    "ffv1.mkv": Odd(clip(codec="ffv1", b_frames=0), SMALL),
    "lossless.mp4": Odd(clip(options={"qp": "0"}, pixels="yuv444p"), SMALL),
    "ten bits.mp4": Odd(clip(pixels="yuv420p10le"), SMALL),
    "grey.mp4": Odd(clip(pixels="gray"), SMALL),
    "av1.mp4": Odd(clip(**AV1), SMALL, "no track here", seconds=2.4),
    "av1.mkv": Odd(clip(**AV1), SMALL, "no track here"),
    "av1 held.mp4": Odd(clip(frames=10, starts=HELD, **AV1), SMALL, "no track here"),
    "av1 turned.mp4": Odd(changed(lambda source, path: rotate(source, path, 1), **AV1), (48, 64), "no track here", turns=1),
    "av1 trimmed.mp4": Odd(changed(lambda source, path: trim(source, path, (0.5, 1)), **AV1), SMALL, "no track here", seconds=1),
    "av1 half there.mp4": Odd(changed(lambda source, path: cut(source, path, 0.7), **FIRST, **AV1), "damaged", "no track here"),
}
CONTAINERS = {
    "index first.mp4": Odd(clip(**FIRST), SMALL),
    "fragmented.mp4": Odd(clip(**FRAGMENTS), SMALL),
    "phone.3gp": Odd(clip(), SMALL),
    "apple.m4v": Odd(clip(form="mp4"), SMALL),
    "quicktime.mov": Odd(clip(), SMALL),
    "matroska.mkv": Odd(clip(), SMALL),
    "stream.ts": Odd(clip(), SMALL, "needs ffmpeg", seconds=2.4),
    "camcorder.m2ts": Odd(clip(container_options={"mpegts_m2ts_mode": "1"}), SMALL, "needs ffmpeg"),
    "mpeg2.ts": Odd(clip(codec="mpeg2video", rate=25), SMALL, "needs ffmpeg"),
    "joined late.ts": Odd(changed(lambda source, path: wrote(path, source.read_bytes()[188 * 20 :])), SMALL, "needs ffmpeg"),
    "moving.gif": Odd(gif(24), SMALL, "needs ffmpeg", seconds=2.4),
    "still.gif": Odd(gif(1), SMALL, "needs ffmpeg"),
    "wrong ending.txt": Odd(clip(form="mp4"), SMALL),
    "wrong container.avi": Odd(clip(form="mp4"), SMALL),
    "ts called.mp4": Odd(clip(form="mpegts"), SMALL, "needs ffmpeg"),
    "free box first.mp4": Odd(changed(before(b"\0\0\0\x08free"), **FRAGMENTS), SMALL),
    "junk behind.mp4": Odd(changed(after(bytes(range(256)) * 12)), SMALL),
    "long sound.mp4": Odd(with_sound, SMALL, seconds=2.4),
    "link to a clip.mp4": Odd(linked(encode), SMALL),
    "flash.flv": Odd(clip(codec="flv", b_frames=0), "unknown format"),
    "windows.wmv": Odd(clip(codec="wmv2", b_frames=0), "unknown format"),
}
TIMES_AND_SIZES = {
    "turned 90.mp4": Odd(changed(lambda source, path: rotate(source, path, 1)), (48, 64), turns=1),
    "turned 180.mp4": Odd(changed(lambda source, path: rotate(source, path, 2)), SMALL, turns=2),
    "turned 270.mov": Odd(changed(lambda source, path: rotate(source, path, 3)), (48, 64), turns=3),
    "trimmed.mp4": Odd(changed(lambda source, path: trim(source, path, (0.5, 1))), SMALL, seconds=1),
    "cut together.mp4": Odd(changed(lambda source, path: trim(source, path, (0.5, 0.5), (1.5, 0.5))), SMALL, seconds=1, starts=TENTHS),
    "held.mp4": Odd(clip(frames=10, starts=HELD), SMALL),
    "held.mkv": Odd(clip(frames=10, starts=HELD), SMALL),
    "late.mp4": Odd(clip(frames=5, starts=[5000, 5100, 5200, 5300, 5400]), SMALL, seconds=0.5),
    "one frame.mp4": Odd(clip(frames=1), SMALL, seconds=0.1),
    "two frames.webm": Odd(clip(frames=2, codec="libvpx-vp9", b_frames=0), SMALL),
    "odd sizes.mp4": Odd(clip(width=63, height=47, pixels="yuv444p"), (63, 47)),
    "narrow.mp4": Odd(clip(width=16, height=256), (16, 256)),
    "wide.mp4": Odd(clip(width=1280, height=16), (640, 8)),
    "4k.mp4": Odd(clip(frames=8, width=3840, height=2160), (640, 360)),
    "three hours.mp4": Odd(clip(frames=10_800, rate=1, group=60), SMALL, seconds=10_800),
    "three hours.mkv": Odd(clip(frames=216, starts=[50_000 * number for number in range(216)]), SMALL),
    "seven hours.mkv": Odd(clip(frames=8, starts=[3_600_000 * number for number in range(8)]), "hours"),
    "8192 x 8192.mp4": Odd(clip(frames=1, width=8192, height=8192, b_frames=0), "megapixels"),
    "four gigabytes.mp4": Odd(changed(sparse(4_100_000_000)), "megabytes"),
    "claims 65535 x 65535.mp4": Odd(changed(with_size(65535, 65535)), SMALL),
    "claims no size.mp4": Odd(changed(with_size(0, 0)), SMALL),
    "claims 65535 x 65535.gif": Odd(gif(3, claimed=(65535, 65535)), "damaged", "needs ffmpeg"),
}
DAMAGE = {
    "zero bytes.mp4": Odd(content(b""), "empty"),
    "two bytes.mp4": Odd(content(b"\0\0"), "unknown format"),
    "zeros.mp4": Odd(content(bytes(5000)), "unknown format"),
    "noise.mp4": Odd(content(np.random.default_rng(0).bytes(5000)), "unknown format"),
    "header only.mp4": Odd(content(b"\0\0\0\x18ftypisom" + bytes(40)), "damaged"),
    "header only.avi": Odd(content(b"RIFF\0\0\0\0AVI " + bytes(40)), "damaged"),
    "header only.mkv": Odd(content(b"\x1a\x45\xdf\xa3" + bytes(40)), "damaged"),
    "header only.mpg": Odd(content(b"\0\0\1\xba" + bytes(40)), "damaged"),
    "header only.gif": Odd(content(b"GIF89a" + bytes(40)), "damaged", "needs ffmpeg"),
    "header only.ts": Odd(content((b"\x47" + bytes(187)) * 9), "damaged", "needs ffmpeg"),
    "endless box.mp4": Odd(content(b"\0\0\0\1ftyp" + b"\xff" * 8 + b"isom" + bytes(99)), "damaged"),
    "index lost.mp4": Odd(changed(lambda source, path: cut(source, path, 0.5)), "damaged"),
    "half there.mp4": Odd(changed(lambda source, path: cut(source, path, 0.7), **FIRST), "damaged"),
    "half there.ts": Odd(changed(lambda source, path: cut(source, path, 0.5)), SMALL, "needs ffmpeg"),
    "spoilt.mp4": Odd(changed(spoil, frames=100), "damaged"),
    "zeros behind the header.mp4": Odd(changed(lambda source, path: wrote(path, source.read_bytes()[:32] + bytes(5000))), "damaged"),
    "no frames.mp4": Odd(without_frames, "no track", "no track here"),
    "sound only.mp4": Odd(sound_only, "no track", "no track here"),
    "cover.mp4": Odd(lambda path: sound_only(path, cover=True), "no track", "still"),
}
NO_VIDEOS = {
    "text.mp4": Odd(content(b"Dear diary,\n" * 50), "unknown format"),
    "page.mp4": Odd(content(b"<!doctype html><script>alert(1)</script>" * 30), "unknown format"),
    "program.mp4": Odd(content(b"\x7fELF\2\1\1" + bytes(2000)), "unknown format"),
    "pickle.mp4": Odd(content(pickle.dumps({"frames": list(range(999))})), "unknown format"),
    "archive.mp4": Odd(archive, "unknown format"),
    "paper.mp4": Odd(content(b"%PDF-1.7\n" + bytes(2000)), "unknown format"),
    "wave.mp4": Odd(content(b"RIFF\x24\0\0\0WAVEfmt " + bytes(2000)), "unknown format"),
    "picture.mp4": Odd(still_picture, "unknown format"),
    "photo.mp4": Odd(picture("JPEG"), "unknown format"),
    "webp.mp4": Odd(picture("WEBP", save_all=True, append_images=[Image.new("RGB", SMALL, "red")]), "unknown format"),
    "avif.mp4": Odd(content(b"\0\0\0\x1cftypavif" + bytes(400)), "unknown format"),
    "heic.mp4": Odd(content(b"\0\0\0\x1cftypheic" + bytes(400)), "unknown format"),
}
LEADING_ELSEWHERE = {
    "hls.mp4": Odd(playlist(HLS), "unknown format"),
    "hls.m3u8": Odd(playlist(HLS), "unknown format"),
    "hls behind a mark.mp4": Odd(playlist("\ufeff" + HLS), "unknown format"),
    "concat.mp4": Odd(playlist("ffconcat version 1.0\nfile OTHER\n"), "unknown format"),
    "dash.mp4": Odd(playlist(DASH), "unknown format"),
    "session.mp4": Odd(playlist(SDP), "unknown format"),
    "session in a box.mp4": Odd(content(b"\0\0\0\x08skip\n" + SDP.encode() + bytes(200)), "damaged"),
    "playlist in a box.mp4": Odd(playlist("\0\0\0\x08skip\n" + HLS), "damaged"),
    "address.mp4": Odd(content(b"http://127.0.0.1:9/clip.mp4\n"), "unknown format"),
    "shortcut.mp4": Odd(content(b"[InternetShortcut]\nURL=file:///etc/passwd\n"), "unknown format"),
    "link to text.mp4": Odd(linked(content(b"secret\n" * 50)), "unknown format"),
    "link to nothing.mp4": Odd(linked("nothing there"), "missing"),
    "link to itself.mp4": Odd(linked("link to itself.mp4"), "missing"),
    "folder.mp4": Odd(folder, "missing"),
    "frame%03d.png": Odd(series, "unspeakable name"),
}
ODD_VIDEOS = CODECS | CONTAINERS | TIMES_AND_SIZES | DAMAGE | NO_VIDEOS | LEADING_ELSEWHERE


def main() -> None:
    from aim.video.clip import read_video

    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    for name, odd in ODD_VIDEOS.items():
        try:
            read = read_video(odd.make(place / name), 8)
            came = f"{read.frames.shape} {read.duration:.2f} s"
        except ValueError as error:
            came = str(error)
        print(f"{name:28} expected {odd.expected!s:16} came {came}")


if __name__ == "__main__":
    main()
