"""`aim.read_video` and `clip_from_frames`: which frames a clip is made of, at what times and size.

The second way is what was written: numbers painted into the frames, and the times they were given.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aim.kernels.refusal import Refusal
from aim.video.clip import Clip, clip_from_frames, read_video
from aim.video.edit_list import stretches
from tests.clips import encode, numbered_frame, numbers_of, on_at_centres, rotate, spoil, trim
from tests.rows import one_in
from tests.video.ordinary import CLIPS

# One for each reader, and one of each kind that decord and PyAV have got wrong.
BY_DEFAULT = ("open groups.mp4", "hardly any times.mpg")
HELD = [0, 100, 200, 300, 1300, 1400, 1500, 5000, 5040, 5080]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return encode(folder / "plain.mp4", frames=60)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in BY_DEFAULT else pytest.mark.whole) for name in CLIPS])
def test_takes_the_frames_on_at_the_centres_of_equal_stretches_of_time(name: str, folder: Path):
    settings = CLIPS[name]
    path = encode(folder / name, frames=100, **settings)
    rate = settings.get("rate", 10)
    for num_frames in (1, 8, 10, 32, 100):
        clip = read_video(path, num_frames)
        expected = on_at_centres([number / rate for number in range(100)], 100 / rate, num_frames)
        assert numbers_of(clip.frames) == expected
        assert clip.timestamps == pytest.approx(np.array(expected) / rate, abs=1e-5)
        assert clip.duration == pytest.approx(100 / rate, abs=1e-5)
        assert np.abs(clip.frames.astype(int) - np.stack([numbered_frame(number, 64, 48) for number in expected])).mean() < 8


@pytest.mark.parametrize("name", ["held.mp4", "held.mkv"])
def test_variable_frame_rate_is_sampled_by_time_and_a_held_frame_comes_once_for_each_stretch(name: str, folder: Path):
    path = encode(folder / name, frames=10, starts=HELD)
    clip = read_video(path, 8)
    expected = on_at_centres([start / 1000 for start in HELD], 5.18, 8)
    assert expected == [3, 3, 6, 6, 6, 6, 6, 6]
    assert numbers_of(clip.frames) == expected
    assert clip.timestamps == pytest.approx([HELD[number] / 1000 for number in expected])
    assert clip.duration == pytest.approx(5.18)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_times_count_from_the_first_frame(name: str, folder: Path):
    path = encode(folder / name, frames=5, starts=[5000, 5100, 5200, 5300, 5400])
    assert read_video(path, 5).timestamps == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_clip_with_fewer_frames_than_asked_gives_each_once(frames: int, container: str, folder: Path):
    clip = read_video(encode(folder / f"short.{container}", frames=frames), 32)
    assert numbers_of(clip.frames) == list(range(frames))
    assert clip.timestamps == pytest.approx(np.arange(frames) / 10)
    assert clip.duration == pytest.approx(frames / 10)


@pytest.mark.parametrize(
    ("stretch", "numbers"),
    one_in(
        3,
        [
            ((1.5, 4.5), range(15, 60)),
            ((1.25, 2.0), range(13, 33)),
            ((0, 2.0), range(20)),
            ((0, 5.9), range(59)),
            ((2.0, 1.5), range(20, 35)),
        ],
    ),
)
def test_frames_hidden_by_an_edit_list_are_not_taken(stretch: tuple[float, float], numbers: range, plain: Path, folder: Path):
    path = trim(plain, folder / "trimmed.mp4", stretch)
    for num_frames in (1, 8, 64):
        clip = read_video(path, num_frames)
        expected = on_at_centres([place / 10 for place in range(len(numbers))], stretch[1], num_frames)
        assert numbers_of(clip.frames) == [numbers[place] for place in expected]
        assert clip.timestamps == pytest.approx(np.array(expected) / 10, abs=1e-3)
        assert clip.duration == pytest.approx(stretch[1], abs=1e-3)


def test_a_trimmed_clip_of_variable_frame_rate_keeps_its_times(folder: Path):
    path = trim(encode(folder / "held.mp4", frames=10, starts=HELD), folder / "held trimmed.mp4", (0.2, 2.8))
    clip = read_video(path, 5)
    assert numbers_of(clip.frames) == [3, 3, 6, 6, 6]  # at 0.28, 0.84, 1.4, 1.96, 2.52 s
    assert clip.timestamps == pytest.approx([0.1, 0.1, 1.3, 1.3, 1.3], abs=1e-3) and clip.duration == pytest.approx(2.8, abs=1e-3)


def test_a_last_frame_without_a_length_is_on_for_one_step(folder: Path):
    path = encode(folder / "recorded.webm", codec="libvpx-vp9", b_frames=0)
    default_duration = path.read_bytes().index(b"\x23\xe3\x83\x84")
    data = bytearray(path.read_bytes())
    data[default_duration : default_duration + 2] = b"\xec\x86"  # an empty element of the same size, as browsers' recorders leave it out
    path.write_bytes(data)
    clip = read_video(path, 24)
    assert numbers_of(clip.frames) == list(range(24))
    assert clip.duration == pytest.approx(2.4, abs=0.02)


def test_stretches_cut_out_by_an_edit_list_are_not_taken_and_leave_no_gap(plain: Path, folder: Path):
    clip = read_video(trim(plain, folder / "cut.mp4", (0.5, 1.0), (4.2, 1.0)), 64)
    assert numbers_of(clip.frames) == [*range(5, 15), *range(42, 52)]
    assert clip.timestamps == pytest.approx(np.arange(20) / 10, abs=1e-3) and clip.duration == pytest.approx(2.0)


def test_a_stretch_that_an_edit_list_shows_twice_comes_twice(plain: Path, folder: Path):
    clip = read_video(trim(plain, folder / "loop.mp4", (0.5, 0.5), (0.5, 0.5)), 64)
    assert numbers_of(clip.frames) == [*range(5, 10)] * 2
    assert clip.timestamps == pytest.approx(np.arange(10) / 10, abs=1e-3) and clip.duration == pytest.approx(1.0)


def test_stretches_of_an_edit_list(plain: Path, folder: Path):
    def seconds(path: Path) -> list[float]:
        return [stretch.seconds for stretch in stretches(path)]

    first = stretches(plain)[0].start
    assert seconds(plain) == pytest.approx([6.0])
    assert seconds(trim(plain, folder / "t.mp4", (1.0, 2.5))) == pytest.approx([2.5])
    assert stretches(folder / "t.mp4")[0].start == pytest.approx(first + 1)
    assert seconds(trim(plain, folder / "t.mp4", (1.0, 2.5), (4.0, 1.0))) == pytest.approx([2.5, 1.0])
    assert stretches(encode(folder / "t.mkv")) == stretches(folder / "missing.mp4") == []
    damaged = bytearray(plain.read_bytes())
    for at in range(damaged.index(b"moov"), len(damaged), 29):
        (folder / "t.mp4").write_bytes(damaged[:at] + b"\xff\xff" + damaged[at + 2 :])
        assert all(length >= 0 for length in seconds(folder / "t.mp4"))
        (folder / "t.mp4").write_bytes(damaged[:at])
        assert all(length >= 0 for length in seconds(folder / "t.mp4"))


@pytest.mark.parametrize("turns", one_in(2, [1, 2, 3]))
@pytest.mark.parametrize("max_side", one_in(2, [640, 48]))
def test_rotated_clips_come_out_upright(turns: int, max_side: int, folder: Path):
    source = encode(folder / "level.mp4", width=96, height=64)
    clip = read_video(rotate(source, folder / "turned.mp4", turns), 8, max_side=max_side)
    level = read_video(source, 8, max_side=max_side)
    assert clip.frames.shape == np.rot90(level.frames, -turns, axes=(1, 2)).shape
    turned_back = np.rot90(clip.frames, turns, axes=(1, 2))
    assert numbers_of(turned_back) == numbers_of(level.frames)
    assert np.abs(turned_back.astype(int) - level.frames).mean() < 4


@pytest.mark.parametrize(
    ("width", "height", "max_side", "expected"),
    [
        (3840, 2160, 640, (640, 360)),
        (1080, 1920, 640, (360, 640)),
        (320, 180, 640, (320, 180)),
        (640, 360, 640, (640, 360)),
        (642, 360, 640, (640, 358)),
        (640, 480, 100, (100, 76)),
        (192, 256, 64, (48, 64)),
        (96, 512, 64, (12, 64)),
        (1024, 16, 64, (64, 2)),
    ],
)
def test_frames_are_reduced_to_the_longer_side_in_proportion_and_never_enlarged(width, height, max_side, expected, folder: Path):
    clip = read_video(encode(folder / "size.mp4", frames=3, width=width, height=height), 3, max_side=max_side)
    assert clip.frames.shape == (3, expected[1], expected[0], 3)
    assert clip.frames.nbytes == 3 * 3 * expected[0] * expected[1]
    if min(expected) > 2:
        assert numbers_of(clip.frames) == [0, 1, 2]


@pytest.mark.parametrize("width", one_in(3, [2, 4, 6, 8, 12, 16, 24, 32, 48, 72, 96, 144]))
def test_narrow_clips_keep_their_size_and_picture(width: int, folder: Path):
    path = encode(folder / "narrow.mp4", frames=6, width=width, height=32)
    clip = read_video(path, 6)
    assert clip.frames.shape == (6, 32, width, 3)
    assert np.abs(clip.frames.astype(int) - np.stack([numbered_frame(number, width, 32) for number in range(6)])).mean() < 24
    if width >= 8:
        assert numbers_of(clip.frames) == list(range(6))


def test_text_and_path_names_with_spaces_and_accents_read_the_same(folder: Path):
    path = encode(folder / "Mañana at 5 – 动画.mp4")
    assert read_video(str(path), 4) == read_video(path, 4)


def test_digest_follows_the_frames_their_times_and_the_duration(plain: Path):
    clip = read_video(plain, 8)
    assert clip == read_video(plain, 8) and clip.digest == read_video(plain, 8).digest
    assert len({clip.digest, read_video(plain, 9).digest, read_video(plain, 8, max_side=48).digest}) == 3
    assert clip_from_frames(clip.frames, 2.0).digest != clip_from_frames(clip.frames, 4.0).digest
    assert clip_from_frames(clip.frames[:1], 2.0).digest != clip_from_frames(clip.frames[:1], 4.0).digest  # one frame, at 0 s in both
    assert 0 < clip.decode_seconds < 60


def test_clips_that_differ_in_how_long_the_last_frame_is_on_have_digests_that_differ(folder: Path):
    made = [encode(folder / f"{rate} a second.mp4", frames=1, rate=rate) for rate in (2, 5)]
    short, long = read_video(made[1], 1), read_video(made[0], 1)
    assert (short.frames == long.frames).all() and (short.timestamps == long.timestamps).all() and long.duration == 0.5
    assert short.digest != long.digest and short != long


def test_a_clip_with_other_frames_times_or_duration_has_a_digest_of_its_own(plain: Path):
    clip = read_video(plain, 4)
    others = {"frames": clip.frames[:, ::-1], "timestamps": clip.timestamps[::-1], "duration": 9.0, "is_image": True}
    digests = {replace(clip, **{name: value}).digest for name, value in others.items()}
    assert len(digests | {clip.digest}) == 5
    assert replace(clip, decode_seconds=9.0).digest == clip.digest


def test_frames_in_memory_make_the_same_clip_as_the_file_they_came_from(plain: Path):
    read = read_video(plain, 60)
    made = clip_from_frames(read.frames, 10)
    assert isinstance(made, Clip) and made.timestamps == pytest.approx(read.timestamps, abs=1e-5) and made.duration == pytest.approx(6.0)
    assert made.digest == clip_from_frames(np.asfortranarray(read.frames), 10).digest
    before = read.frames[0, 0, 0, 0]
    made.frames[0, 0, 0, 0] += 1
    assert read.frames[0, 0, 0, 0] == before


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 3)),
        [[0]],
        None,
    ],
    ids=["none", "grey", "four channels", "float", "list", "nothing"],
)
def test_frames_of_another_kind_are_refused(frames: object):
    with pytest.raises(Refusal, match=r"frames is .*accepted: a NumPy array, uint8 \[frames, height, width, 3\]"):
        clip_from_frames(frames, 10)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "10", None, True])
def test_a_rate_that_is_none_is_refused(rate: object):
    with pytest.raises(Refusal, match="frames_per_second is .*accepted: a number from 0.001 to 1000000"):
        clip_from_frames(np.zeros((2, 4, 4, 3), np.uint8), rate)


@pytest.mark.long
def test_calls_in_threads_read_the_same_as_alone(plain: Path):
    alone = [read_video(plain, count) for count in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda count: read_video(plain, count), range(1, 9))) == alone


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="lists open files through /proc")
def test_files_are_closed_afterwards_read_or_refused(plain: Path, folder: Path):
    spoilt = spoil(plain, folder / "open.mp4")
    read_video(plain, 4)
    with pytest.raises(ValueError) as kept:
        read_video(spoilt, 60)
    still_open = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
    assert kept and not {str(plain.resolve()), str(spoilt.resolve())} & still_open
