"""Odd video files of many kinds, each with what must come of it: `python -m tests.video.odd_videos FOLDER` makes them all and reads them.

An outcome is a reason of `aim.video.intake.refusals.REASONS`, or the width and height of the frames. Which frames those are, and when they
appear, is what was written: numbers painted into them, and the times they were given. No second decoder is asked.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.clips import cut, cut_in_index, encode, rotate, sound_only, spoil, still_picture, trim, without_frames, without_times, wrote
from tests.video.odd_makers import (
    SMALL,
    after,
    archive,
    before,
    changed,
    clip,
    content,
    folder,
    gif,
    linked,
    picture,
    playlist,
    series,
    sparse,
    with_size,
    with_sound,
)


def spaced(frames: int, rate: float = 10) -> tuple[float, ...]:
    return tuple(number / rate for number in range(frames))


TRIMMED = {"seconds": 1, "starts": spaced(10), "numbers": tuple(range(5, 15))}
TOGETHER = TRIMMED | {"numbers": (*range(5, 10), *range(15, 20))}
HELD = [0, 100, 200, 300, 1300, 1400, 1500, 5000, 5040, 5080]
HELD_SECONDS = tuple(start / 1000 for start in HELD)


class Odd(NamedTuple):
    """`seconds`, where given, is how long it lasts, and `turns` are the quarter turns clockwise that bring its frames upright.

    `starts` is when its frames appear, and `numbers` what is painted into them: 0, 1, 2... where that is left out.
    """

    make: Callable[[Path], Path]
    outcome: str | tuple[int, int]
    seconds: float | None = None
    turns: int = 0
    starts: tuple[float, ...] = spaced(24)
    numbers: tuple[int, ...] | None = None


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
    "mpeg1.mpg": Odd(clip(codec="mpeg1video", rate=25), SMALL, starts=spaced(24, 25)),
    "mpeg2.mpg": Odd(clip(codec="mpeg2video", rate=25), SMALL, starts=spaced(24, 25)),
    "prores.mov": Odd(clip(codec="prores_ks", b_frames=0, pixels="yuv422p10le"), SMALL),
    "animation.mov": Odd(clip(codec="qtrle", b_frames=0, pixels="rgb24"), SMALL),
    "ffv1.mkv": Odd(clip(codec="ffv1", b_frames=0), SMALL),
    "lossless.mp4": Odd(clip(options={"qp": "0"}, pixels="yuv444p"), SMALL),
    "ten bits.mp4": Odd(clip(pixels="yuv420p10le"), SMALL),
    "grey.mp4": Odd(clip(pixels="gray"), SMALL),
    "av1.mp4": Odd(clip(**AV1), SMALL, seconds=2.4),
    "av1.mkv": Odd(clip(**AV1), SMALL),
    "av1 held.mp4": Odd(clip(frames=10, starts=HELD, **AV1), SMALL, starts=HELD_SECONDS),
    "av1 turned.mp4": Odd(changed(lambda source, path: rotate(source, path, 1), **AV1), (48, 64), turns=1),
    "av1 trimmed.mp4": Odd(
        changed(lambda source, path: trim(source, path, (0.5, 1)), **AV1), SMALL, seconds=1, starts=spaced(10), numbers=tuple(range(5, 15))
    ),
    "av1 half there.mp4": Odd(changed(lambda source, path: cut(source, path, 0.7), **FIRST, **AV1), "damaged"),
}
CONTAINERS = {
    "index first.mp4": Odd(clip(**FIRST), SMALL),
    "fragmented.mp4": Odd(clip(**FRAGMENTS), SMALL),
    "phone.3gp": Odd(clip(), SMALL),
    "apple.m4v": Odd(clip(form="mp4"), SMALL),
    "quicktime.mov": Odd(clip(), SMALL),
    "matroska.mkv": Odd(clip(), SMALL),
    "stream.ts": Odd(clip(), SMALL, seconds=2.4),
    "camcorder.m2ts": Odd(clip(container_options={"mpegts_m2ts_mode": "1"}), SMALL),
    "mpeg2.ts": Odd(clip(codec="mpeg2video", rate=25), SMALL, starts=spaced(24, 25)),
    "joined late.ts": Odd(
        changed(lambda source, path: wrote(path, source.read_bytes()[188 * 20 :])), SMALL, starts=spaced(12), numbers=tuple(range(12, 24))
    ),
    "moving.gif": Odd(gif(24), SMALL, seconds=2.4),
    "still.gif": Odd(gif(1), SMALL, starts=(0,)),
    "wrong ending.txt": Odd(clip(form="mp4"), SMALL),
    "wrong container.avi": Odd(clip(form="mp4"), SMALL),
    "ts called.mp4": Odd(clip(form="mpegts"), SMALL),
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
    "trimmed.mp4": Odd(
        changed(lambda source, path: trim(source, path, (0.5, 1))), SMALL, seconds=1, starts=spaced(10), numbers=tuple(range(5, 15))
    ),
    "cut together.mp4": Odd(
        changed(lambda source, path: trim(source, path, (0.5, 0.5), (1.5, 0.5))),
        SMALL,
        seconds=1,
        starts=spaced(10),
        numbers=(*range(5, 10), *range(15, 20)),
    ),
    "held.mp4": Odd(clip(frames=10, starts=HELD), SMALL, starts=HELD_SECONDS),
    "held.mkv": Odd(clip(frames=10, starts=HELD), SMALL, starts=HELD_SECONDS),
    "late.mp4": Odd(clip(frames=5, starts=[5000, 5100, 5200, 5300, 5400]), SMALL, seconds=0.5, starts=spaced(5)),
    "one frame.mp4": Odd(clip(frames=1), SMALL, seconds=0.1, starts=(0,)),
    "two frames.webm": Odd(clip(frames=2, codec="libvpx-vp9", b_frames=0), SMALL, starts=(0, 0.1)),
    "odd sizes.mp4": Odd(clip(width=63, height=47, pixels="yuv444p"), (63, 47)),
    "narrow.mp4": Odd(clip(width=16, height=256), (16, 256)),
    "wide.mp4": Odd(clip(width=1280, height=16), (640, 8)),
    "4k.mp4": Odd(clip(frames=8, width=3840, height=2160), (640, 360), starts=spaced(8)),
    "three hours.mp4": Odd(clip(frames=10_800, rate=1, group=60), SMALL, seconds=10_800, starts=spaced(10_800, 1)),
    "three hours.mkv": Odd(clip(frames=216, starts=[50_000 * number for number in range(216)]), SMALL, starts=spaced(216, 0.02)),
    "seven hours.mkv": Odd(clip(frames=8, starts=[3_600_000 * number for number in range(8)]), "hours"),
    "8192 x 8192.mp4": Odd(clip(frames=1, width=8192, height=8192, b_frames=0), "megapixels"),
    "four gigabytes.mp4": Odd(changed(sparse(4_100_000_000)), "megabytes"),
    "claims 65535 x 65535.mp4": Odd(changed(with_size(65535, 65535)), (85, 48)),
    "claims no size.mp4": Odd(changed(with_size(0, 0)), SMALL),
    "claims 65535 x 65535.gif": Odd(gif(3, claimed=(65535, 65535)), "damaged"),
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
    "header only.gif": Odd(content(b"GIF89a" + bytes(40)), "damaged"),
    "header only.ts": Odd(content((b"\x47" + bytes(187)) * 9), "damaged"),
    "endless box.mp4": Odd(content(b"\0\0\0\1ftyp" + b"\xff" * 8 + b"isom" + bytes(99)), "damaged"),
    "index lost.mp4": Odd(changed(lambda source, path: cut(source, path, 0.5)), "damaged"),
    "index begun.mp4": Odd(changed(cut_in_index), "damaged"),
    "frames without times.mp4": Odd(changed(without_times), "edited"),
    "half there.mp4": Odd(changed(lambda source, path: cut(source, path, 0.7), **FIRST), "damaged"),
    "half there.ts": Odd(changed(lambda source, path: cut(source, path, 0.5)), SMALL, starts=(*spaced(10), 1.1), numbers=(*range(10), 11)),
    "spoilt.mp4": Odd(changed(spoil, frames=100), "damaged"),
    "zeros behind the header.mp4": Odd(changed(lambda source, path: wrote(path, source.read_bytes()[:32] + bytes(5000))), "damaged"),
    "no frames.mp4": Odd(without_frames, "no track"),
    "sound only.mp4": Odd(sound_only, "no track"),
    "cover.mp4": Odd(lambda path: sound_only(path, cover=True), "no track"),
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
    "folder.mp4": Odd(folder, "folder"),
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
