"""The app's clips: shared by content, bounded in bytes, and out of reach without the file."""

import os
import random
import threading

import pytest

from aim.engine.stopping import Stopped
from aim.kernels.refusal import Refusal
from aim.ui.host import load_model
from aim.ui.store import CLIPS_MEMORY, VARIABLE, ClipStore, size_of
from aim.video.clip import Clip
from tests.fakes import make_clip


class Reader:
    """Stands for `read_video`: frames by number, whatever the file holds. Counts its calls."""

    def __init__(self):
        self.calls: list[tuple[str, int]] = []

    def __call__(self, path: str, num_frames: int, stop=None) -> Clip:
        self.calls.append((path, num_frames))
        return make_clip(num_frames)


@pytest.fixture
def read():
    return Reader()


@pytest.fixture
def file(tmp_path):
    """Makes a file of a name and some content."""

    def make(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    return make


def test_visitors_with_equal_files_share_one_clip(file, read):
    store, one, other = ClipStore(), file("one/a.mp4", b"same"), file("other/b.mp4", b"same")
    assert store.clip(one, 3, read=read) is store.clip(other, 3, read=read)
    assert (other, 3) in store and (other, 4) not in store
    assert read.calls == [(one, 3)] and len(store) == 1 and store.bytes == size_of(make_clip(3)) > 3 * 40 * 60 * 3


def test_another_content_is_another_clip_even_under_the_same_path(file, read):
    store, path = ClipStore(), file("a.mp4", b"first")
    store.clip(path, 2, read=read)
    file("a.mp4", b"second")
    os.utime(path, ns=(1, 1))
    assert (path, 2) not in store
    store.clip(path, 2, read=read)
    assert len(read.calls) == 2


def test_nobody_reaches_a_clip_without_its_file(file, read):
    store, path = ClipStore(), file("a.mp4", b"secret")
    store.clip(path, 2, read=read)
    os.remove(path)

    def refuse(*_arguments, **_options):
        raise Refusal("There is no such file.")

    assert (path, 2) not in store
    with pytest.raises(Refusal, match="no such file"):
        store.clip(path, 2, read=refuse)
    assert (file("a.mp4", b"secret"), 2) in store  # whoever has the content has the clip


def test_the_clips_used_longest_ago_go_first(file, read):
    size = size_of(make_clip(2))
    store = ClipStore(3 * size)
    paths = [file(f"{number}.mp4", bytes([number])) for number in range(4)]
    for path in paths[:3]:
        store.clip(path, 2, read=read)
    assert store.bytes == 3 * size
    store.clip(paths[0], 2, read=read)
    store.clip(paths[3], 2, read=read)
    assert [(path, 2) in store for path in paths] == [True, False, True, True] and store.bytes == 3 * size
    store.clip(paths[1], 6, read=read)  # as large as three
    assert len(store) == 1 and store.bytes == size_of(make_clip(6)) <= store.limit


def test_a_clip_larger_than_the_store_is_given_and_not_kept(file, read):
    store, path = ClipStore(10), file("a.mp4", b"x")
    for _ in range(2):
        assert store.clip(path, 2, read=read) == make_clip(2)
    assert len(read.calls) == 2 and len(store) == store.bytes == 0


def test_a_stop_while_reading_is_no_refusal(file):
    stop = threading.Event()

    def reading(path, num_frames, stop):
        stop.set()
        raise Refusal("It was stopped.")

    store, path = ClipStore(), file("a.mp4", b"x")
    with pytest.raises(Stopped):
        store.clip(path, 2, stop, reading)
    assert len(store) == 0


def test_many_threads_keep_its_bytes_right(file, read):
    size = size_of(make_clip(2))
    store, paths = ClipStore(5 * size), [file(f"{number}.mp4", bytes([number])) for number in range(9)]
    most: list[int] = []

    def work(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(60):
            path, frames = order.choice(paths), order.choice((1, 2))
            assert store.clip(path, frames, read=read) == make_clip(frames)
            most.append(store.bytes)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 8 * 60 and max(most) <= store.limit + size  # a look may fall between keeping and letting go
    assert store.bytes == sum(size_of(clip) for clip in store._clips.values()) <= store.limit


def test_fifty_visitors_with_clips_of_their_own_stay_within_the_bound(file, read):
    size = size_of(make_clip(4))
    store = ClipStore(8 * size)
    for visitor in range(50):
        for frames in (1, 4):
            store.clip(file(f"{visitor}.mp4", bytes([visitor])), frames, read=read)
        assert store.bytes <= store.limit
    assert len(read.calls) == 100


def test_the_environment_sets_the_bound_and_a_bad_one_is_refused(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert ClipStore.from_environment().limit == CLIPS_MEMORY == 2**30
    monkeypatch.setenv(VARIABLE, "64 MiB")
    assert ClipStore.from_environment().limit == 64 * 2**20
    monkeypatch.setenv(VARIABLE, "-5")
    with pytest.raises(Refusal, match="AIM_CLIPS_MEMORY is '-5'"):
        ClipStore.from_environment()


@pytest.mark.parametrize("name", ["AIM_CLIPS_MEMORY", "AIM_FEATURES_MEMORY"])
def test_a_size_that_is_none_ends_the_start_in_a_sentence(monkeypatch, name):
    loaded = []
    monkeypatch.setenv(name, "1 GiByte")
    with pytest.raises(SystemExit, match=f"^{name} is '1 GiByte'; accepted: .*"):
        load_model("bundled", loader=lambda *_, **__: loaded.append(1))
    assert not loaded
