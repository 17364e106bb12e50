"""`python -m aim eval`: what it writes, and flags that do not fit each other."""

import csv
import json

import pytest

from aim.commands.main import main
from aim.evaluation import board_settings
from aim.evaluation.board import BOARD_FILE
from tests.benchmark import untrained


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    untrained(folder)
    return str(folder)


def test_it_prints_accuracy_and_cost_and_writes_json_csv_and_a_page_of_charts(model, tmp_path, capsys):
    files = {name: tmp_path / f"figures.{name}" for name in ("json", "csv", "plot")}
    flags = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    work = ["--model", model, "--clips", "2", "--processes", "1", "--out", str(tmp_path / "work")]
    main(["eval", *work, "--frames", "1", "2", "--merge-ratio", "0.5", "0.1", "--positions", "original", *flags])
    printed = capsys.readouterr().out
    assert "questions on 2 held-out clips" in printed
    report = json.loads(files["json"].read_text())
    labels = [f"{f} frames, {m}" for f in (1, 2) for m in ("full", "aim, merge_ratio 0.5, l1 6, l2 9", "aim, merge_ratio 0.1, l1 6, l2 9")]
    assert list(report["milliseconds"]) == [label + ", positions original" * ("aim" in label) for label in labels]
    assert all(label in printed for label in report["milliseconds"])
    half = report["settings"][4]
    assert half["setting"]["merge_ratio"] == 0.5 and half["visual_per_layer"] == [48] * 6 + [32, 16, 0, 0, 0, 0]
    with files["csv"].open() as rows:
        table = list(csv.DictReader(rows))
    of_all = [row for row in table if row["type"] == "all"]
    assert [float(row["right"]) for row in of_all] == [setting["accuracy"]["all"]["right"] for setting in report["settings"]]
    assert len(table) == sum(len(setting["accuracy"]) for setting in report["settings"])
    page = files["plot"].read_text()
    assert "Plotly.newPlot" in page and "2 frames" in page


@pytest.mark.whole
def test_the_board_is_printed_and_written_and_a_second_run_measures_nothing_again(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(board_settings, "BUDGETS", {2: (2,), 4: (4,)})
    work, before = tmp_path / "work", BOARD_FILE.exists()
    command = ["eval", "--model", model, "--board", "tome", "--clips", "2", "--processes", "1", "--out", str(work)]
    reports = []
    for run in ("first", "second"):
        file, page = tmp_path / f"{run}.json", tmp_path / f"{run}.html"
        main([*command, "--json", str(file), "--plot", str(page)])
        reports.append(json.loads(file.read_text()))
        lines = (work / "records.jsonl").read_text().splitlines()
        assert len(lines) == 2 * len({row["setting"] for row in reports[-1]["rows"] if "setting" in row})
        assert "2 frames" in page.read_text() and "4 frames" in page.read_text()
    first, second = ([row.pop("milliseconds", None) for row in report["rows"]] for report in reports)
    assert first == pytest.approx(second, abs=1e-3)  # files hold rounded times
    assert reports[0] == reports[1] and BOARD_FILE.exists() == before
    rows = reports[0]["rows"]
    assert {row["method"] for row in rows} == {"full", "tome", "pool", "fewerframes", "random"}
    assert all(set(row["against"]) == {"fewerframes", "pool", "random"} for row in rows if row["budget"] > 1 and "setting" in row)
    printed = capsys.readouterr().out
    assert "4 frames, 4x fewer" in printed and "synthetic world" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quick", "--clips", "5"], "give one of them"),
        (["--write"], "give --findings or --board with it"),
        (["--shrunken"], "give --tower-merge with it"),
        (["--board", "--tower-merge", "0.3", "--shrunken"], "leave out --tower-merge, --shrunken"),
        (["--findings", "--board"], "give one of them"),
        (["--board", "--frames", "4"], "leave out --frames"),
        (["--everything", "--board"], "give one of them"),
        (["--everything", "--clips", "4", "--write"], "leave out --clips, --write"),
        (["--everything", "--questions", "0"], "accepted: 1 or more"),
        (["--everything"], "leave out --model, or try it with --questions"),
        (["--questions", "40"], "--questions shortens --everything"),
        (["--documents", "--plot", "x.html"], "leave out --plot"),
        (["--board", "tome", "--write"], "needs all methods"),
        (["--findings", "--merge-ratio", "0.5"], "leave out --merge-ratio"),
        (["--findings", "--method", "full", "--csv", "x.csv"], "leave out --method, --csv"),
        (["--findings", "3", "--write"], "needs all findings"),
        (["--findings", "11"], "There is no finding 11"),
        (["--method", "full", "--l1", "3"], "takes these knobs: none"),
        (["--frames", "0"], "a whole number from 1 to 512"),
        (["--frames", "1000000"], "a whole number from 1 to 512"),
        (["--clips", "1"], "at least 2"),
        (["--merge-ratio", "0"], "above 0 and up to 1"),
        (["--restart", "question"], "accepted: a damping above 0"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_two(model, flags, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["eval", "--model", model, "--out", str(tmp_path), *flags])
    captured = capsys.readouterr()
    assert stopped.value.code == 2 and captured.out == ""
    line = captured.err.strip().splitlines()[-1]
    assert line.startswith("aim: ") and message in line
