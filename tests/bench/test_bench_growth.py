"""Growth: every line goes on until it ends, and says why."""

import json

import pytest

from aim.bench.growth import grow
from aim.bench.growth_chart import growth_chart
from aim.bench.measure import Measurement
from aim.bench.printing import growth_text
from aim.commands.main import main

HEAD = {
    "model": "made up",
    "text_tokens": 9,
    "new_tokens": 2,
    "machine": {"device": "a machine", "dtype": "float32", "torch": "2", "transformers": "5", "python": "3"},
    "titles": {"sdpa": "stock", "aim": "AIM"},
}


def run_of(seconds):
    return Measurement(seconds, seconds, None, 100, 40, 7)


def ran(points, name):
    return [(point["frames"], point["ended"]) for point in points if point["variant"] == name]


def test_a_line_ends_where_memory_does_and_the_others_go_on():
    calls = []

    def run(name, frames):
        calls.append((name, frames))
        return "out of memory" if name == "sdpa" and frames >= 32 else run_of(0.1)

    points = grow(run, lambda _name, frames: frames, ["sdpa", "aim"], [64, 8, 16, 32], seconds_limit=100)
    assert ran(points, "sdpa") == [(8, ""), (16, ""), (32, "out of memory")]
    assert ran(points, "aim") == [(8, ""), (16, ""), (32, ""), (64, "")]
    assert ("sdpa", 64) not in calls


def test_a_line_ends_before_a_run_that_would_take_too_long():
    calls = []

    def run(name, frames):
        calls.append(frames)
        return run_of(frames**2 / 64)

    points = grow(run, lambda _name, frames: frames**2, ["sdpa"], [8, 16, 32, 64, 128], seconds_limit=20)
    assert calls == [8, 16, 32]
    assert ran(points, "sdpa")[-1] == (64, "would take 64 s, over the limit of 20 s")
    assert points[2] == {
        "variant": "sdpa",
        "frames": 32,
        "ended": "",
        "prefill_seconds": 16.0,
        "first_token_seconds": 16.0,
        "peak_bytes": 100,
        "working_bytes": 60,
        "kv_bytes": 7,
    }


def test_the_table_and_the_chart_show_where_each_line_ends():
    def run(name, frames):
        return "out of memory (2 GB)" if name == "sdpa" and frames == 16 else run_of(0.5)

    report = {**HEAD, "growth": grow(run, lambda _name, frames: frames, list(HEAD["titles"]), [8, 16, 32], 100)}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in growth_text(report).splitlines() if line.startswith("|")]
    assert rows[0] == ["frames", *(f"{title}: {what}" for title in ("stock", "AIM") for what in ("prefill", "working", "peak"))]
    assert rows[3] == ["16", "out of memory (2 GB)", "-", "-", "500 ms", "60.0 B", "100 B"]
    assert rows[4][:2] == ["32", "-"]
    figure = growth_chart(report)
    assert list(figure.data[0].x) == [8] and list(figure.data[2].x) == [8, 16, 32]
    assert [line.name for line in figure.data if line.showlegend] == ["stock (16 frames: out of memory (2 GB))", "AIM"]
    assert figure.layout.legend.y < 0  # below the lines, so that none runs through the words


@pytest.fixture
def arguments(tmp_path):
    common = ["--model", "bundled", "--device", "cpu", "--text-tokens", "9", "--new-tokens", "1", "--vision-frames", "0"]
    return ["bench", "--growth", *common, "--chart", str(tmp_path / "growth.html")]


@pytest.mark.long
def test_the_command_measures_grows_and_draws(arguments, tmp_path, capsys):
    main([*arguments, "--frames", "1", "3", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [(point["variant"], point["frames"]) for point in report["growth"]] == [(v, f) for f in (1, 3) for v in ("sdpa", "merge", "aim")]
    assert all(point["prefill_seconds"] > 0 and point["peak_bytes"] > 0 for point in report["growth"])
    page = (tmp_path / "growth.html").read_text()
    assert "Plotly.newPlot" in page and "Prefill, seconds" in page and 'src="http' not in page


@pytest.mark.long
def test_a_limit_on_time_ends_the_lines(arguments, capsys):
    main([*arguments, "--frames", "1", "8", "--limit-seconds", "1e-9", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert all(point["ended"].startswith("would take") for point in report["growth"] if point["frames"] == 8)
