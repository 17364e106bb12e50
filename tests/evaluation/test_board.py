"""The board: each method within the budget, "–" where it is out of reach, and verdicts that follow from intervals by rule."""

import math

import pytest

import aim
from aim.evaluation.board import BETTER, OPEN, WORSE, settings_of, verdict
from aim.evaluation.board_chart import board_chart
from aim.evaluation.board_settings import BUDGETS, CONTROLS, OVER, board_cells, usual_text_tokens
from aim.evaluation.board_table import CONTROL_HEAD, HEAD, board_rows, board_text
from aim.evaluation.clips import held_out_clip
from aim.evaluation.settings import Setting
from aim.evaluation.statistics import Interval, Z, widened
from aim.methods import COMPARABLE
from aim.planning.plan import plan_for
from tests.benchmark import untrained
from tests.evaluation.made_up import board_cells_made_up, made_up_board

TEXT = 13


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def report(vlm):
    return made_up_board(vlm.model.config)


def cost(vlm, setting):
    return plan_for(vlm.model.config, setting.frames, TEXT, setting.method).prefill_tflops


def by_place(cells):
    return {(cell.method, cell.frames, cell.budget): cell for cell in cells}


@pytest.mark.parametrize("methods", [["tome"], pytest.param([], marks=pytest.mark.whole)], ids=["controls and one", "all"])
def test_no_setting_costs_more_than_its_budget_and_what_is_out_of_reach_has_none(vlm, methods):
    cells = board_cells(vlm, methods, TEXT, BUDGETS)
    names = [name for name in COMPARABLE if name != "full" and (not methods or name in {*methods, *CONTROLS})]
    assert list(by_place(cells)) == [(name, frames, times) for frames, row in BUDGETS.items() for times in row for name in names]
    for cell in cells:
        full = cost(vlm, Setting(aim.Full(), cell.frames))
        if cell.setting is None:
            assert cell.reaches < cell.budget / (1 + OVER)
        else:
            assert cost(vlm, cell.setting) <= (1 + OVER) * full / cell.budget


def test_a_coarse_control_takes_as_much_as_fits_and_one_step_more_would_not(vlm):
    cells = by_place(board_cells(vlm, ["tome"], TEXT, BUDGETS))
    for frames, row in BUDGETS.items():
        for times in row:
            cell = cells["fewerframes", frames, times]
            taken = cell.setting.method.frames_seen(frames)
            budget = (1 + OVER) * plan_for(vlm.model.config, frames, TEXT, aim.Full()).prefill_tflops / times
            of_so_many = [plan_for(vlm.model.config, count, TEXT, aim.Full()).prefill_tflops for count in range(1, frames + 1)]
            assert taken == sum(tflops <= budget for tflops in of_so_many)


def test_a_cut_inside_the_llm_cannot_reach_the_tightest_budget_and_says_how_far_it_goes(vlm):
    cell = by_place(board_cells(vlm, ["tome"], TEXT, {32: (25,)}))["random", 32, 25]
    least = plan_for(vlm.model.config, 32, TEXT, aim.Random(layer=1, keep_ratio=0.0001))
    assert cell.setting is None and cell.reaches == pytest.approx(least.speedup) and cell.reaches < 12


def test_the_usual_question_is_the_median_one(vlm):
    lengths = sorted(vlm.text_tokens(question.text) for index in range(20) for question in held_out_clip(index).questions)
    usual = usual_text_tokens(vlm)
    assert 2 * sum(length < usual for length in lengths) <= len(lengths) <= 2 * sum(length <= usual for length in lengths)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.001, 0.1, BETTER), (-0.1, -0.001, WORSE), (-0.01, 0.1, OPEN), (0.0, 0.1, OPEN), (-0.1, 0.0, OPEN)],
)
def test_a_difference_is_real_when_its_whole_interval_is_on_one_side_of_zero(low, high, expected):
    assert verdict(Interval((low + high) / 2, low, high)) == expected


@pytest.mark.parametrize("comparisons", [1, 5, 340])
def test_all_comparisons_together_are_wrong_in_one_of_twenty_boards_at_most(comparisons):
    assert comparisons * math.erfc(widened(comparisons) / math.sqrt(2)) == pytest.approx(0.05)
    assert widened(1) == pytest.approx(Z)


def test_verdicts_follow_from_the_records(report):
    rows = {row["method"]: row for row in report["rows"]}
    assert report["rows"][0]["method"] == "full" and rows["full"]["budget"] == 1 and rows["full"]["against"] == {}
    against = {
        name: {control: part and part["verdict"] for control, part in rows[name]["against"].items()} for name in ("aim", "tome", "pool")
    }
    assert against["aim"] == {"fewerframes": None, "pool": BETTER, "random": BETTER}
    assert against["tome"] == {"fewerframes": None, "pool": BETTER, "random": OPEN}
    assert against["pool"] == {"fewerframes": None, "pool": None, "random": WORSE}
    assert rows["aim"]["against"]["pool"]["value"] == pytest.approx(0.3) == rows["aim"]["against"]["pool"]["low"]
    assert report["comparisons"] == 5  # aim and tome with two controls each, and the two with each other
    # Half of the clips differ by 0.3 and half by 0.
    half = widened(5) * 0.15 * math.sqrt(1 / 39)
    assert rows["aim"]["against"]["random"]["low"] == pytest.approx(0.15 - half)


def test_a_row_has_accuracy_by_type_agreement_and_cost(report):
    rows = {row["method"]: row for row in report["rows"]}
    assert {kind: share["value"] for kind, share in rows["pool"]["accuracy"].items()} == pytest.approx(
        {"all": 0.6, "colour": 0.75, "needle": 0}
    )
    assert rows["aim"]["agreement"] == 1 and rows["pool"]["agreement"] == pytest.approx(0.7)
    assert rows["aim"]["against"]["pool"]["cost"] == pytest.approx(rows["aim"]["prefill_gflops"] / rows["pool"]["prefill_gflops"]) and (
        rows["aim"]["against"]["pool"]["cost"] > 1.5
    )
    assert rows["fewerframes"] == {"method": "fewerframes", "frames": 8, "budget": 2, "reaches": 1.9}


def test_the_table_prints_a_dash_with_the_most_that_a_method_reaches(report):
    rows = {row[0]: dict(zip((*HEAD, *CONTROL_HEAD, "colour", "needle"), row, strict=True)) for row in board_rows(report)}
    assert rows["fewerframes"]["FLOPs"] == "– (most 1.9x)" and rows["fewerframes"]["correct %"] is None
    assert rows["aim"]["against pool"].endswith("x its cost") and "cost" not in rows["aim"]["against random"]
    text = board_text(report)
    assert "– (most 1.9x)" in text and "8 frames, 2x fewer" in text and "all 5 of them hold at once" in text and "synthetic world" in text


def test_the_chart_has_a_line_for_each_method_that_was_measured(report):
    traces = {trace.name: trace for trace in board_chart(report, 8).data}
    assert set(traces) == {"full", "aim", "tome", "pool", "random"}
    share = next(row for row in report["rows"] if row["method"] == "tome")["accuracy"]["all"]
    assert traces["tome"].y[0] + traces["tome"].error_y.array[0] == pytest.approx(100 * share["high"])


def test_the_full_model_is_measured_once_for_each_number_of_frames_and_nothing_out_of_reach():
    cells = board_cells_made_up()
    assert [setting.method.name for setting in settings_of(cells)] == ["full", "aim", "tome", "pool", "random"]
