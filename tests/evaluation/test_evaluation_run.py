"""A benchmark's answers do not depend on how many processes measured them, or on whether it was cut off on the way."""

import json

import pytest
import torch

import aim
from aim.evaluation import run as running
from aim.evaluation.run import records_folder, run
from aim.evaluation.settings import Setting, combine
from aim.kernels.refusal import Refusal
from tests.benchmark import untrained

SETTINGS = [Setting(aim.Full(), 1), Setting(aim.AIM(merge_ratio=0.25, l1=6, l2=9), 1), Setting(aim.AIM(merge_ratio=0.1, l1=3, l2=6), 2)]
CLIPS = 4


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(vlm, tmp_path_factory):
    """A run in one go: its records and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return run(vlm, SETTINGS, CLIPS, folder=folder, processes=1, progress=False), folder


def answers(records):
    return [(record.setting, record.clip, record.visual_per_layer, record.outcomes) for record in records]


def test_records_come_by_setting_and_clip_and_lie_in_the_folder_as_lines_of_json(whole):
    records, folder = whole
    assert [(record.setting, record.clip) for record in records] == [(s.key, clip) for s in SETTINGS for clip in range(CLIPS)]
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert {(line["setting"], line["clip"]) for line in lines} == {(s.key, clip) for s in SETTINGS for clip in range(CLIPS)}
    assert "milliseconds" not in (folder / "records.jsonl").read_text()


@pytest.mark.long
def test_two_processes_write_the_very_file_that_one_writes(vlm, whole, tmp_path):
    records = run(vlm, SETTINGS, CLIPS, folder=tmp_path, processes=2, progress=False)
    assert answers(records) == answers(whole[0])
    assert (tmp_path / "records.jsonl").read_bytes() == (whole[1] / "records.jsonl").read_bytes()


@pytest.mark.parametrize("kept", [*(pytest.param(kept, marks=pytest.mark.whole) for kept in (0.0, 0.3, 0.95)), 0.5])
def test_a_run_killed_in_the_middle_of_a_line_ends_as_one_in_one_go(vlm, whole, tmp_path, kept):
    for name in ("of.json", "times.jsonl", "records.jsonl"):
        content = (whole[1] / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(kept * len(content))] if name == "records.jsonl" else content)
    records = run(vlm, SETTINGS, CLIPS, folder=tmp_path, processes=1, progress=False)
    assert answers(records) == answers(whole[0])
    assert sorted((tmp_path / "records.jsonl").read_text().splitlines()) == sorted((whole[1] / "records.jsonl").read_text().splitlines())


def test_a_run_that_is_interrupted_goes_on_after_the_last_clip_and_measures_nothing_twice(vlm, whole, tmp_path, monkeypatch):
    measured, measure_clip = [], running.measure_clip

    def interrupted_at_the_third(vlm, clip, settings):
        if clip.index == 2:
            raise KeyboardInterrupt
        measured.append(clip.index)
        return measure_clip(vlm, clip, settings)

    threads = torch.get_num_threads()
    monkeypatch.setattr(running, "measure_clip", interrupted_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(vlm, SETTINGS, CLIPS, folder=tmp_path, processes=1, progress=False)
    assert measured == [0, 1] and torch.get_num_threads() == threads

    def counted(vlm, clip, settings):
        measured.append(clip.index)
        return measure_clip(vlm, clip, settings)

    monkeypatch.setattr(running, "measure_clip", counted)
    records = run(vlm, SETTINGS, CLIPS, folder=tmp_path, processes=1, progress=False)
    assert measured == [0, 1, 2, 3]
    assert answers(records) == answers(whole[0])
    assert (tmp_path / "records.jsonl").read_bytes() == (whole[1] / "records.jsonl").read_bytes()


def test_answers_of_other_code_are_filed_apart(vlm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = records_folder("model", "test", "1" * 64)
    monkeypatch.setattr(running, "code_hash", lambda _name: "0" * 64)
    assert records_folder("model", "test", "1" * 64) != before


def test_a_further_setting_is_measured_alone(vlm, whole, tmp_path):
    run(vlm, SETTINGS[:2], 2, folder=tmp_path, processes=1, progress=False)
    before = (tmp_path / "records.jsonl").read_text()
    run(vlm, SETTINGS, 2, folder=tmp_path, processes=1, progress=False)
    after = (tmp_path / "records.jsonl").read_text()
    assert after.startswith(before)
    assert [json.loads(line)["setting"] for line in after.removeprefix(before).splitlines()] == [SETTINGS[2].key] * 2


def test_a_folder_of_another_model_or_split_is_refused(vlm, whole, tmp_path):
    with pytest.raises(Refusal, match="another model, split or code"):
        run(untrained(tmp_path / "other", seed=1), SETTINGS, CLIPS, folder=whole[1], progress=False)
    with pytest.raises(Refusal, match="another model, split or code"):
        run(vlm, SETTINGS, CLIPS, split="validation", folder=whole[1], progress=False)


@pytest.mark.parametrize(("options", "message"), [({"clips": 1}, "at least 2"), ({"clips": 3, "processes": 0}, "accepted: 1 or more")])
def test_numbers_out_of_range_are_refused(vlm, tmp_path, options, message):
    with pytest.raises(Refusal, match=message):
        run(vlm, SETTINGS, folder=tmp_path, **options)


def test_combining_puts_the_full_model_first_at_each_number_of_frames_and_everything_once():
    settings = combine([aim.AIM(merge_ratio=0.25), aim.AIM(merge_ratio=0.25, l1=6, l2=9), aim.Full()], [4, 8], num_layers=12)
    assert [(setting.method.name, setting.frames) for setting in settings] == [("full", 4), ("aim", 4), ("full", 8), ("aim", 8)]
    assert settings[1].label == "4 frames, aim, merge_ratio 0.25, l1 6, l2 9"
    with pytest.raises(Refusal, match="a whole number from 1 to 512"):
        combine([aim.Full()], [8, 0], num_layers=12)
