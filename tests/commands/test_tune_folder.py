"""`python -m aim tune FOLDER`: which files of a folder are taken for videos."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from aim.commands.tune import add_arguments, run
from aim.kernels.refusal import Refusal
from aim.video.intake.limits import SUFFIXES


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read; no model is run on them."""
    names = []

    class Found:
        divergences = ()

        def to_dict(self) -> dict:
            return {}

    monkeypatch.setattr("aim.video.clip.read_video", lambda path, num_frames: names.append(path.name))
    monkeypatch.setattr("aim.runtime.vlm.load", lambda *_: None)
    monkeypatch.setattr("aim.tuning.transfer.tune_many", lambda *_, **__: Found())
    return names


def tune(folder: Path) -> str:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(folder), "What happens?", "--budget", "4x", "--json"]))


def test_every_suffix_that_upload_takes_is_taken_in_either_case(tmp_path: Path, tried: list[str]):
    wanted = [f"clip{suffix}" for suffix in SUFFIXES] + [f"LOUD{suffix.upper()}" for suffix in SUFFIXES]
    for name in [*wanted, "notes.txt", "poster.png", "mp4", "clip.mp4.part"]:
        (tmp_path / name).touch()
    tune(tmp_path)
    assert tried == sorted(wanted)


def test_a_folder_without_videos_is_told_what_is_looked_for(tmp_path: Path, tried: list[str]):
    with pytest.raises(Refusal) as caught:
        tune(tmp_path)
    assert all(suffix in str(caught.value) for suffix in SUFFIXES) and not tried
