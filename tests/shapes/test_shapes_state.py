"""Training on a disk or a state that will not do: one sentence, code 2, and nothing overwritten."""

import os
from pathlib import Path

import pytest
import torch

from aim.kernels.refusal import Refusal
from aim.shapes import train
from aim.shapes.state import LOG, STATE, RunState, check_folders

PLAN = {"--steps": 3}


def tiny(width: int = 2) -> torch.nn.Module:
    return torch.nn.Linear(width, 2)


def stored(folder: Path, width: int = 2, plan: dict = PLAN) -> RunState:
    """A state of a tiny model at step 1, with a line of log."""
    run = RunState(folder, plan)
    run.log({"step": 0})
    run.save(stage=0, step=1, means={}, model=tiny(width).state_dict())
    return run


def test_a_state_comes_back_with_its_log_and_without_the_lines_after_it(tmp_path):
    stored(tmp_path).log({"step": 25})
    resumed = RunState(tmp_path, PLAN)
    assert resumed.load(tiny())["step"] == 1
    assert resumed.lines == ['{"step": 0}\n'] == (tmp_path / LOG).read_text().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (lambda folder: stored(folder, width=3), "a model of another shape"),
        (lambda folder: stored(folder, plan={"--steps": 9}), "a run with --steps 9, and this one has --steps 3"),
        (lambda folder: (folder / STATE).write_bytes(b"not a state"), "not one that this command wrote"),
        (lambda folder: (folder / STATE).write_bytes(b""), "not one that this command wrote"),
        (lambda folder: torch.save({"model": tiny().state_dict()}, folder / STATE), "not one that this command wrote"),
        (lambda folder: torch.save([1], folder / STATE), "not one that this command wrote"),
    ],
    ids=["other shape", "other steps", "no state", "empty", "older state", "something else"],
)
def test_a_state_of_another_run_is_refused_and_stays_as_it_was(tmp_path, state, told):
    state(tmp_path)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(Refusal, match=told) as refused:
        RunState(tmp_path, PLAN).load(tiny())
    assert str(tmp_path) not in str(refused.value)
    assert (tmp_path / STATE).read_bytes() == before


def test_a_full_disk_is_one_sentence_and_keeps_the_state_before(tmp_path):
    run = stored(tmp_path)
    before = (tmp_path / STATE).read_bytes()
    os.symlink("/dev/full", tmp_path / "state.new")  # every write there fails as on a full disk
    with pytest.raises(Refusal, match="No space left on device.*goes on from the state before"):
        run.save(stage=0, step=2, means={}, model=tiny().state_dict())
    assert (tmp_path / STATE).read_bytes() == before
    assert RunState(tmp_path, PLAN).load(tiny())["step"] == 1


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").write_text("earlier weights")

    def fail(model, folder):
        (Path(folder) / "model.safetensors").write_text("half of the new w")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aim.shapes.state.save", fail)
    with pytest.raises(Refusal, match="The training itself is done"):
        RunState(tmp_path, PLAN).write_checkpoint(tiny(), out)
    assert [(file.name, file.read_text()) for file in out.iterdir()] == [("model.safetensors", "earlier weights")]


def test_two_runs_do_not_share_a_folder(tmp_path):
    first = RunState(tmp_path, PLAN)
    first.claim()
    with pytest.raises(Refusal, match="Another run works in the --work folder"):
        RunState(tmp_path, PLAN).claim()
    first.release()
    second = RunState(tmp_path, PLAN)
    second.claim()
    del second  # as when its process ends
    RunState(tmp_path, PLAN).claim()


def test_folders_without_write_access_are_named_by_their_flag(tmp_path):
    check_folders({"--out": tmp_path / "new" / "folder"})
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="The folder that --work names cannot be written to"):
        check_folders({"--out": tmp_path, "--work": tmp_path / "file" / "work"})


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.long)])
def test_the_command_says_what_is_wrong_in_one_line_and_ends_with_code_2(tmp_path, capfd, processes):
    work = tmp_path / "work"
    work.mkdir()
    steps = {"--vision-steps": 2, "--steps": 3, "--later-steps": 0}
    stored(work, plan={**steps, "--processes": int(processes)})
    before = (work / STATE).read_bytes()
    flags = ["--work", str(work), "--out", str(tmp_path / "out"), "--no-bfloat16"]
    flags += [str(part) for flag in steps.items() for part in flag]
    with pytest.raises(SystemExit) as ended:
        train.main([*flags, "--processes", processes])
    assert ended.value.code == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert said == [line for line in said if line.startswith("aim.shapes.train: The training state")] and len(said) == 1
    assert (work / STATE).read_bytes() == before and not any((tmp_path / "out").iterdir())
