"""Every kind of odd file of `tests.video.odd_videos`: the frames that were written, or a refusal for the right reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aim.kernels.refusal import Refusal
from aim.video.clip import read_video
from aim.video.intake.refusals import REASONS
from tests.clips import numbers_of, on_at_centres
from tests.video.odd_videos import ODD_VIDEOS

FRAMES = [name for name, odd in ODD_VIDEOS.items() if not isinstance(odd.outcome, str)]
REFUSED = [name for name in ODD_VIDEOS if name not in FRAMES]


def one_in_three(names: list[str]) -> list:
    """All of them as parameters, of which one in three runs by default: each starts a process and writes a file."""
    return [pytest.param(name, marks=pytest.mark.whole if number % 3 else ()) for number, name in enumerate(names)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SVT_LOG", "0")


@pytest.mark.parametrize("name", one_in_three(FRAMES))
def test_an_odd_file_gives_the_frames_that_were_written(name: str, folder: Path):
    odd = ODD_VIDEOS[name]
    path = odd.make(folder / name)
    clip = read_video(path, 8)
    numbers = range(len(odd.starts)) if odd.numbers is None else odd.numbers
    assert clip.frames.shape == (min(8, len(numbers)), *odd.outcome[::-1], 3)
    expected = on_at_centres(odd.starts, clip.duration, 8)
    assert numbers_of(np.rot90(clip.frames, odd.turns, axes=(1, 2))) == [numbers[place] % 256 for place in expected]
    assert clip.timestamps == pytest.approx([odd.starts[place] for place in expected], abs=2e-3)
    assert clip.duration > odd.starts[-1]
    if odd.seconds is not None:
        assert clip.duration == pytest.approx(odd.seconds, abs=1e-3)


@pytest.mark.parametrize("name", one_in_three(REFUSED))
def test_an_odd_file_is_refused_for_the_right_reason_in_one_line_without_a_folder(name: str, folder: Path):
    odd = ODD_VIDEOS[name]
    path = odd.make(folder / name)
    with pytest.raises(Refusal) as caught:
        read_video(path, 8)
    message = str(caught.value)
    before, _, after = REASONS[odd.outcome][0].partition("{given:")
    assert message.startswith(f"{name} is not a video this app can read ({before}")
    assert after.partition("}")[2] in message and REASONS[odd.outcome][1] in message
    assert message.endswith(".") and len(message) < 300 and "\n" not in message and "/" not in message and folder.name not in message
    assert caught.value.__cause__ is None and caught.value.__context__ is None
