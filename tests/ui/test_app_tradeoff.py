"""The Tune tab and the check after a run as a visitor meets them: the real bundled model, a real server, headless Chromium."""

from __future__ import annotations

import logging

import pytest

import aim
from tests.visitor import EXAMPLES, examples, needs_browser

pytestmark = needs_browser
KNOBS = ("merge-ratio", "l1", "l2")


def tune(visitor, times_less: float | None = None) -> None:
    visitor.open("Tune")
    if times_less is not None:
        visitor.set("tune-amount", times_less)
    visitor.tab.locator("#tune-start").click()
    visitor.wait_for_text("#tune-status", "Done")


def setting(visitor) -> list[float]:
    return [visitor.knob(name) for name in KNOBS]


def wait_until_chosen(visitor) -> list[float]:
    """The knobs, once every one of them is the chosen setting's: they arrive one after the other."""
    label = visitor.tab.locator("#tune-table tr.aim-chosen button").inner_text()
    values = "['merge-ratio', 'l1', 'l2'].map(name => Number(document.querySelector(`#${name} input[type=number]`).value))"
    told = "`merged to ${Number((100 * ratio).toPrecision(3))} %, layers ${l1} → ${l2}`"
    visitor.tab.wait_for_function(f"label => {{ const [ratio, l1, l2] = {values}; return label.startsWith({told}); }}", arg=label)
    return setting(visitor)


def planned(merge_ratio: float, l1: float, l2: float, frames: int, question: str):
    vlm = aim.load("bundled")
    return vlm.plan(frames, vlm.text_tokens(question), aim.AIM(merge_ratio=merge_ratio, l1=int(l1), l2=int(l2)))


@pytest.mark.long
def test_a_budget_is_set_a_setting_is_found_and_used_and_one_click_undoes_it(visit, caplog):
    caplog.set_level(logging.INFO, "aim.runs")
    visitor = visit()
    before = setting(visitor)
    tune(visitor, 12)
    assert setting(visitor) == before  # it never moves the knobs by itself
    visitor.tab.locator("#tune-use").click()
    after = wait_until_chosen(visitor)
    assert after != before
    assert planned(*after, int(visitor.knob("frames")), visitor.question.input_value()).speedup >= 12
    visitor.tab.wait_for_function("document.querySelector('#tune-chart .js-plotly-plot')?.data?.some(trace => trace.name === 'chosen')")
    chosen = visitor.tab.locator("#tune-table tr.aim-chosen")
    assert chosen.count() == 1 and "over the budget" not in chosen.inner_text()
    assert visitor.tab.locator("#tune-table tbody tr").count() <= 24
    visitor.run()
    fewer = float(visitor.text(".aim-facts").split("× fewer FLOPs")[0].split()[-1])
    assert fewer >= 12
    told = [record.getMessage() for record in caplog.records if record.name == "aim.runs"]
    assert {line.split()[1] for line in told} == {"method=tune", "method=aim", "method=full"}
    assert visitor.text("#plan").count("×") >= 2 and f"{fewer:.1f}× fewer" in visitor.text("#plan")
    visitor.tab.locator("#tune-undo").click()
    visitor.wait_for_knob("merge-ratio", before[0])
    visitor.wait_for_knob("l2", before[2])
    assert setting(visitor) == before


@pytest.mark.every
def test_a_row_moves_the_knobs_the_plan_and_the_preset(visit):
    visitor = visit()
    tune(visitor)
    paper = visitor.tab.locator("#tune-table tr", has_text="the paper's")
    visitor.tab.locator("#tune-table tr", has_text="reference").locator("button").click()
    visitor.wait_for_knob("merge-ratio", 1)
    visitor.tab.locator("#preset input[value='Full model']:checked").wait_for()
    paper.locator("td").first.click()  # anywhere on the row
    visitor.wait_for_knob("merge-ratio", 0.25)
    visitor.tab.locator("#preset input[value='Paper']:checked").wait_for()
    default = aim.AIM().for_depth(aim.load("bundled").num_layers)
    assert setting(visitor) == [default.merge_ratio, default.l1, default.l2]
    visitor.tab.locator("#tune-use").click()
    assert wait_until_chosen(visitor) != [default.merge_ratio, default.l1, default.l2]


@pytest.mark.every
def test_the_slider_follows_the_kind_of_budget_and_the_frames(visit):
    visitor = visit()
    visitor.open("Tune")
    most = "document.querySelector('#tune-amount input[type=range]').max"
    visitor.tab.locator("#tune-kind").get_by_text("KV cache", exact=True).click()
    visitor.wait_for_text("#tune-amount", "in MB")
    vlm = aim.load("bundled")
    frames = int(visitor.knob("frames"))
    whole = vlm.plan(frames, 20, aim.Full()).kv_bytes / 1e6
    visitor.tab.wait_for_function(f"whole => Math.abs(Number({most}) - whole) < 0.05 * whole", arg=whole)
    visitor.set("frames", 2 * frames)
    visitor.tab.wait_for_function(f"whole => Number({most}) > 1.8 * whole", arg=whole)
    visitor.set("frames", frames)
    visitor.tab.wait_for_function(f"whole => Math.abs(Number({most}) - whole) < 0.05 * whole", arg=whole)
    visitor.set("tune-amount", 0.5)
    visitor.tab.locator("#tune-start").click()
    visitor.wait_for_text("#tune-status", "Done")
    cell = visitor.tab.locator("#tune-table tr.aim-chosen td").nth(2).inner_text()
    amount, unit = cell.split()
    assert float(amount) * {"kB": 1e3, "MB": 1e6}[unit] <= 0.5e6


@pytest.mark.every  # tests/ui/test_ui_spending.py holds the answers, and the tests of the page's looks click the button
def test_the_saving_is_spent_on_more_frames_and_both_answers_stand_side_by_side(visit):
    visitor = visit()
    tune(visitor, 8)
    visitor.tab.locator("#tune-use").click()
    visitor.wait_for_text("#spend", "full model on")
    visitor.tab.locator("#spend").click()
    rows = visitor.tab.locator("#spent tbody tr")
    rows.first.wait_for()
    cells = [rows.nth(place).locator("td").all_inner_texts() for place in (0, 1)]
    frames = int(visitor.knob("frames"))
    assert int(cells[0][1]) == frames < int(cells[1][1])
    clip = aim.read_video(EXAMPLES / examples()[0]["file"], frames)
    assert cells[0][0] == aim.load("bundled").ask(clip, visitor.question.input_value(), aim.Full(), 8).text


def test_tuning_without_a_question_says_so_and_keeps_everything(tab):
    visitor = tab()
    visitor.open("Tune")
    visitor.question.fill("")
    visitor.set("merge-ratio", 0.5)
    visitor.tab.locator("#tune-start").click()
    visitor.wait_for_text("#tune-status", "Not run: There is no question yet")
    assert visitor.knob("merge-ratio") == 0.5


@pytest.mark.every
def test_stop_ends_the_tuning_leaves_the_knobs_and_the_app_is_usable_at_once(visit, monkeypatch):
    from aim.ui import jobs

    steps = jobs.tune_steps

    def waiting(*arguments, stop, **options):
        for step in steps(*arguments, stop=stop, **options):
            yield step
            if len(step.tried) == 4:
                stop.wait(120)

    monkeypatch.setattr(jobs, "tune_steps", waiting)
    visitor = visit()
    before = setting(visitor)
    visitor.open("Tune")
    visitor.tab.locator("#tune-start").click()
    visitor.wait_for_text("#tune-status", "prefills…")
    visitor.tab.locator("#tune-table tbody tr").nth(3).wait_for()
    visitor.tab.locator("#tune-stop").click()
    visitor.wait_for_text("#tune-status", "Stopped")
    assert visitor.tab.locator("#tune-table tbody tr").count() == 4 and setting(visitor) == before
    visitor.run()
    assert visitor.answer() == examples()[0]["answer"]
    visitor.tab.locator("#tune-stop").click()
    visitor.wait_for_text("#tune-status", "Nothing is running")
    monkeypatch.undo()
    tune(visitor)
    assert visitor.tab.locator("#tune-table tbody tr").count() > 4
