"""A run of `python -m aim eval --everything` that is cut off on the way ends with the very files of one in one go."""

import json

import pytest

import aim
from aim.commands import everything as command
from aim.commands.main import main
from aim.evaluation import accuracy, guard_threshold, recorded, tuned_settings
from aim.evaluation import run as running
from aim.evaluation.settings import Setting

SHORT = ("accuracy.json", "guard.json")


@pytest.fixture
def brief(monkeypatch):
    """The measurements of two parts, as short as they can be."""
    monkeypatch.setattr(command, "PARTS", tuple(part for part in command.PARTS if part.name in SHORT))
    full = Setting(aim.Full(), 1)
    monkeypatch.setattr(accuracy, "COLUMNS", {"8 frames": full})
    monkeypatch.setattr(recorded, "COLUMNS", {"8 frames": full})
    for module in (guard_threshold, tuned_settings):
        monkeypatch.setattr(module, "FRAMES", 2)
    monkeypatch.setattr(guard_threshold, "BUDGETS", ("2x", "25x"))


@pytest.mark.whole
def test_a_run_that_is_cut_off_in_any_part_ends_with_the_files_of_one_in_one_go(brief, tmp_path, monkeypatch, capsys):
    def run(work):
        main(["eval", "--everything", "--questions", "4", "--processes", "1", "--out", str(work)])
        return {name: (work / "everything-4" / name).read_bytes() for name in SHORT}

    whole = run(tmp_path / "whole")
    assert json.loads(whole["guard.json"])["runs"] > 0 and "accuracy.json" in capsys.readouterr().out
    cuts = ((running, "measure_clip", 1), (guard_threshold, "guard", 5))
    for module, name, after in cuts:
        with monkeypatch.context() as patch:
            calls, real = [], getattr(module, name)

            def cut(*given, _calls=calls, _real=real, _after=after, **named):
                _calls.append(1)
                if len(_calls) > _after:
                    raise KeyboardInterrupt
                return _real(*given, **named)

            patch.setattr(module, name, cut)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "cut")
    assert run(tmp_path / "cut") == whole
