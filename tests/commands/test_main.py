"""What the command line makes of mistakes, and of faults that are no mistake of the user's."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from aim.commands import main as command_line
from aim.commands.main import main
from aim.kernels.refusal import Refusal
from tests.rows import one_in


def raising(error: Exception) -> SimpleNamespace:
    """A command that takes no flags and ends with this error."""

    def run(_options):
        raise error

    return SimpleNamespace(SUMMARY="fails", add_arguments=lambda parser: None, run=run)


@pytest.mark.parametrize("error", [Refusal("l1 is 5."), ModuleNotFoundError("No module named 'bitsandbytes'")], ids=["refusal", "package"])
def test_what_the_user_can_mend_is_one_line_and_exit_code_two(monkeypatch, capsys, error):
    monkeypatch.setitem(command_line.COMMANDS, "fail", raising(error))
    with pytest.raises(SystemExit) as stopped:
        main(["fail"])
    assert stopped.value.code == 2 and capsys.readouterr() == ("", f"aim: {error}\n")


@pytest.mark.parametrize("error", [ValueError("operands could not be broadcast"), RuntimeError("no kernel"), KeyError("merge")], ids=repr)
def test_a_fault_of_ours_keeps_its_traceback(monkeypatch, capsys, error):
    monkeypatch.setitem(command_line.COMMANDS, "fail", raising(error))
    with pytest.raises(type(error)) as raised:
        main(["fail"])
    assert raised.value is error and capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["plan", "bundled", "--frames", "many"], "argument --frames: invalid int value: 'many'"),
        (["plan", "bundled", "--method", "best"], "argument --method: invalid choice: 'best'"),
        (["eval", "--json", "no-such-folder/figures.json"], "argument --json: no-such-folder is no folder here"),
        (["bench", "--chart", "."], "argument --chart: . is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_cannot_be_read_are_told_with_the_usage(capsys, flags, message):
    with pytest.raises(SystemExit) as stopped:
        main(flags)
    usage, *_, last = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and usage.startswith("usage: aim") and message in last


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--frames", "0"], "num_frames is 0"),
        (["--merge-ratio", "0"], "merge_ratio is 0.0"),
        (["--l1", "5", "--l2", "3"], "l1 is 5 and l2 is 3"),
        (["--method", "full", "--l1", "3"], "takes these knobs: none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refused_plan_is_told_in_one_line(capsys, flags, message):
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "bundled", *flags])
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and not printed.out and message in printed.err and printed.err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("arguments", one_in(2, [["plan", "bundled", "--json"], ["plan", "--help"]]), ids=" ".join)
def test_a_reader_who_has_seen_enough_leaves_no_traceback(arguments):
    command = subprocess.Popen([sys.executable, "-m", "aim", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command.stdout.close()
    told = command.stderr.read().decode()
    command.stderr.close()
    assert command.wait() in (0, command_line.READER_GONE) and "Traceback" not in told and "BrokenPipe" not in told
