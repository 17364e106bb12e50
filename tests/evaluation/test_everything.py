"""`python -m aim eval --everything`: what is there is kept, what was cut off goes on to the same bytes, nothing stale is mixed in."""

import pytest

import aim
from aim.commands import everything as command
from aim.evaluation import stored
from aim.evaluation.rows import Rows
from aim.kernels.refusal import Refusal

SHORT = ("accuracy.json", "guard.json", "tuned.json")


def names(row):
    """A measurement of a row, which counts the rows that were measured."""
    names.measured.append(row)
    if row == names.stop:
        raise KeyboardInterrupt
    return {"name": row, "third": 1 / 3}


@pytest.fixture
def counted():
    names.measured, names.stop = [], None
    return names


def told(_name):
    """Nobody listens."""


def test_rows_that_were_cut_off_go_on_to_the_same_bytes_and_are_measured_once(tmp_path, counted):
    subject, wanted = {"weights": "1", "code": "2"}, ["a", "b", "c", "d"]
    whole = Rows(tmp_path / "whole.jsonl", subject).all(wanted, names, 1, told)
    counted.measured, counted.stop = [], "c"
    with pytest.raises(KeyboardInterrupt):
        Rows(tmp_path / "cut.jsonl", subject).all(wanted, names, 1, told)
    with (tmp_path / "cut.jsonl").open("a") as file:
        file.write('{"name": "c", "row": {"na')  # as where a process is killed in the middle of a line
    counted.measured, counted.stop = [], None
    assert Rows(tmp_path / "cut.jsonl", subject).all(wanted, names, 1, told) == whole
    assert counted.measured == ["c", "d"]
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_rows_of_other_weights_or_code_are_refused_and_the_sentence_says_which(tmp_path, counted):
    Rows(tmp_path / "rows.jsonl", {"weights": "1", "code": "2"}).all(["a"], names, 1, told)
    for subject, which in (({"weights": "0", "code": "2"}, "weights"), ({"weights": "1", "code": "0"}, "code")):
        with pytest.raises(Refusal, match=f"of other {which}, and are not mixed with fresh ones"):
            Rows(tmp_path / "rows.jsonl", subject)


def test_a_file_of_present_hashes_is_kept_and_any_other_is_measured_again(tmp_path, monkeypatch, capsys):
    done = []

    def part(name):
        def measure(session):
            done.append(name)
            return stored.about(name, session.weights)

        return command.Part(name, measure)

    def failing(_session):
        raise Refusal("There are too few answers.")

    loaded = aim.load("bundled", device="cpu")
    monkeypatch.setattr(command, "load", lambda *_given, **_named: loaded)
    monkeypatch.setattr(command, "code_hash", lambda name: f"code of {name}")
    monkeypatch.setattr(stored, "code_hash", lambda name: f"code of {name}")
    monkeypatch.setattr(command, "PARTS", tuple(map(part, SHORT)))
    arguments = ("bundled", 4, 1, tmp_path)
    assert "kept" not in command.everything(*arguments)
    assert done == list(SHORT)
    report = stored.read("guard.json", tmp_path / "everything-4")
    stored.write("guard.json", report | {"code": "another"}, tmp_path / "everything-4")
    (tmp_path / "bundled-test-00000000-11111111").mkdir()
    capsys.readouterr()
    assert command.everything(*arguments).count("kept") == 2
    assert done == [*SHORT, "guard.json"]
    said = capsys.readouterr().err
    assert "Left alone, since they are of other weights, code or clips: bundled-test-00000000-11111111" in said
    assert "accuracy.json: kept" in said and "guard.json: about" in said
    monkeypatch.setattr(command, "PARTS", (command.Part("board.json", failing), *map(part, SHORT)))
    with pytest.raises(Refusal, match="Not all was measured. board.json: There are too few answers."):
        command.everything(*arguments)
    assert not (tmp_path / "everything-4" / "board.json").exists()
