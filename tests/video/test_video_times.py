"""Times begin at the first shown frame, and frames that are promised and never come are not counted."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from aim.video.clip import read_video
from tests.clips import encode, numbers_of, on_at_centres, wrote
from tests.rows import one_in

# what stands in the place of a picture: an access unit delimiter (H.264, HEVC); a unit of filler data (H.264); nothing
DELIMITER, HEVC_DELIMITER, FILLER = b"\0\0\0\x02\x09\xf0", b"\0\0\0\x03\x46\x01\x50", b"\0\0\0\x40\x0c" + b"\xff" * 62 + b"\x80"
HEVC = {"codec": "libx265", "options": {"x265-params": "log-level=none:bframes=0"}}


def without_pictures(source: Path, path: Path, places: set[int], change: Callable[[bytes], bytes]) -> Path:
    """The same packets at the same times, except that those at `places` are changed."""
    with av.open(str(source)) as original, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(original.streams.video[0])
        for number, packet in enumerate(packet for packet in original.demux(video=0) if packet.dts is not None):
            if number in places:
                empty = av.Packet(change(bytes(packet)))
                empty.pts, empty.dts, empty.time_base, empty.duration = packet.pts, packet.dts, packet.time_base, packet.duration
                packet = empty
            packet.stream = stream
            copy.mux(packet)
    return path


def expected(starts: list[float], end: float, num_frames: int) -> tuple[list[int], list[float]]:
    places = on_at_centres(starts, end, num_frames)
    return places, [starts[place] for place in places]


@pytest.mark.parametrize(
    ("name", "settings", "content"),
    one_in(
        4,
        [
            ("clip.mp4", {}, DELIMITER),
            ("clip.mov", {}, FILLER),
            ("clip.mkv", {}, DELIMITER),
            ("clip.mp4", HEVC, HEVC_DELIMITER),
        ],
    ),
    ids=["H.264 in MP4", "filler in MOV", "H.264 in MKV", "HEVC in MP4"],
)
def test_frames_that_never_come_at_the_end_are_not_counted(name: str, settings: dict, content: bytes, tmp_path: Path):
    source = encode(tmp_path / f"whole {name}", **{"frames": 60, "b_frames": 0} | settings)
    path = without_pictures(source, tmp_path / name, {57, 58, 59}, lambda _: content)
    for num_frames in (1, 4, 32, 64):
        clip = read_video(path, num_frames)
        numbers, times = expected([number / 10 for number in range(57)], 5.7, num_frames)
        assert numbers_of(clip.frames) == numbers
        assert clip.timestamps == pytest.approx(times, abs=1e-3) and clip.duration == pytest.approx(5.7, abs=1e-3)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_frames_that_never_come_half_way_leave_the_frame_before_them_on(name: str, tmp_path: Path):
    source = encode(tmp_path / f"whole {name}", frames=60, b_frames=0, group=20)
    path = without_pictures(source, tmp_path / name, {38, 39}, lambda _: DELIMITER)  # the last two of a group, which no other frame needs
    here = [number for number in range(60) if number not in (38, 39)]
    for num_frames in (1, 8, 58):
        clip = read_video(path, num_frames)
        places, times = expected([number / 10 for number in here], 6.0, num_frames)
        assert numbers_of(clip.frames) == [here[place] for place in places]
        assert clip.timestamps == pytest.approx(times, abs=1e-3) and clip.duration == pytest.approx(6.0, abs=1e-3)


def test_pictures_that_vp8_never_shows_are_not_counted(tmp_path: Path):
    source = encode(tmp_path / "whole.webm", frames=60, codec="libvpx", b_frames=0, group=60)
    hidden = {10, 25, 59}
    path = without_pictures(source, tmp_path / "clip.webm", hidden, lambda packet: bytes([packet[0] & ~0x10]) + packet[1:])  # show_frame
    here = [number for number in range(60) if number not in hidden]
    for num_frames in (8, 64):
        clip = read_video(path, num_frames)
        places, times = expected([number / 10 for number in here], 5.9, num_frames)
        assert numbers_of(clip.frames) == [here[place] for place in places]
        assert clip.timestamps == pytest.approx(times, abs=1e-3) and clip.duration == pytest.approx(5.9, abs=1e-3)


@pytest.mark.parametrize("seconds", one_in(3, [7, 3_000, 100_000]), ids=["seconds", "an hour", "27 hours"])
@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts", "clip.mp4", "clip.webm"])
def test_the_same_frames_come_at_the_same_times_whatever_the_times_begin_with(name: str, seconds: int, tmp_path: Path):
    settings = {"codec": "libvpx-vp9"} if name == "clip.webm" else {}
    starts = [1000 * seconds + 100 * number for number in range(96)]
    path = encode(tmp_path / name, frames=96, b_frames=0, starts=starts, **settings)
    clip = read_video(path, 16)
    assert numbers_of(clip.frames) == list(range(3, 96, 6))
    assert clip.timestamps == pytest.approx(np.arange(3, 96, 6) / 10, abs=1e-6) and clip.duration == pytest.approx(9.6, abs=2e-3)


@pytest.mark.parametrize(("milliseconds", "frames"), [(100, 48), (1000, 12), (40, 30)])
def test_a_slow_gif_is_read_frame_by_frame(milliseconds: int, frames: int, tmp_path: Path):
    pictures = [Image.new("L", (64, 48), 5 * number) for number in range(frames)]
    pictures[0].save(tmp_path / "clip.gif", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    step = milliseconds / 1000
    for num_frames in (8, frames):
        clip = read_video(tmp_path / "clip.gif", num_frames)
        numbers, times = expected([number * step for number in range(frames)], frames * step, num_frames)
        assert [round(int(frame[20, 20, 0]) / 5) for frame in clip.frames] == numbers
        assert clip.timestamps == pytest.approx(times, abs=1e-6) and clip.duration == pytest.approx(frames * step)


@pytest.mark.parametrize(("name", "codec"), [("slow.ts", "libx264"), ("slow.mp4", "libsvtav1"), ("slow.webm", "libvpx")])
def test_a_clip_of_one_frame_a_second_is_read_frame_by_frame(name: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SVT_LOG", "0")
    clip = read_video(encode(tmp_path / name, frames=20, rate=1, codec=codec, b_frames=0), 20)
    assert numbers_of(clip.frames) == list(range(20))
    assert clip.timestamps == pytest.approx(np.arange(20), abs=1e-3) and clip.duration == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize(("codec", "suffix"), [("libvpx", "webm"), ("libvpx-vp9", "webm"), ("libx264", "mkv")])
def test_a_recording_that_does_not_tell_how_long_it_lasts_is_read_whole(codec: str, suffix: str, tmp_path: Path):
    """As browsers' recorders write it: streamed, so neither a duration nor an index, and at uneven times."""
    starts = [0, 103, 201, 298, 405, 500, 1498, 1600, 1702, 1801, 1899, 2003]
    path = tmp_path / f"recorded.{suffix}"
    encode(path, frames=12, codec=codec, b_frames=0, group=6, starts=starts, container_options={"live": "1"}, form="matroska")
    with av.open(str(path)) as container:
        assert container.duration is None
    clip = read_video(path, 12)
    places, times = expected([start / 1000 for start in starts], clip.duration, 12)
    assert numbers_of(clip.frames) == places and clip.timestamps == pytest.approx(times)
    assert clip.duration == pytest.approx(2.1, abs=0.05)


def test_a_rate_that_is_no_whole_number_keeps_its_times(tmp_path: Path):
    path = encode(tmp_path / "film.ts", frames=48, rate=Fraction(24000, 1001))
    clip = read_video(path, 48)
    assert numbers_of(clip.frames) == list(range(48))
    assert clip.timestamps == pytest.approx(np.arange(48) * 1001 / 24000, abs=1e-4)


# What two broadcasts begin with, in milliseconds of their own clocks.
BEGIN = {"the same": (0, 0), "the second earlier": (5000, 0), "the second in the middle of the first": (0, 450)}


@pytest.mark.parametrize("begins", one_in(3, BEGIN))
def test_the_times_of_broadcasts_that_were_joined_go_on_from_one_to_the_next(begins: str, tmp_path: Path):
    moments = [0, 100, 500, 600, 1000, 1300]
    parts = []
    for place, begin in enumerate(BEGIN[begins]):
        settings = {"starts": [begin + moment for moment in moments], "numbers": [10 * place + number for number in range(len(moments))]}
        parts.append(encode(tmp_path / "part.ts", frames=len(moments), b_frames=0, **settings).read_bytes())
    path = wrote(tmp_path / "joined.ts", b"".join(parts))
    for count in (1, 4, 200):
        clip = read_video(path, count)
        assert 3.0 <= clip.duration <= 3.3
        for number, second in zip(numbers_of(clip.frames), clip.timestamps, strict=True):
            if second < 1.2:  # FFmpeg takes a packet at the join for damaged, so the first part may end with a picture held
                assert second == pytest.approx(moments[number] / 1000, abs=1e-3)
            elif number >= 10:
                assert 1.4 <= second - moments[number - 10] / 1000 <= 1.7
        assert count == 1 or {number // 10 for number in numbers_of(clip.frames)} == {0, 1}
