"""The tables and sentences of the READMEs that hold measured figures, each made of one stored file and of nothing else."""

from __future__ import annotations

from aim.evaluation.board import BETTER
from aim.evaluation.board_settings import CONTROLS
from aim.evaluation.findings import signed, source_of
from aim.evaluation.stored import CODE, WEIGHTS
from aim.evaluation.summary import ALL
from aim.evaluation.tuned_settings import overruns
from aim.evaluation.tuned_settings import table as tuned_table
from aim.evaluation.weights_marks import DIGITS
from aim.runtime.weights import EARLIER
from aim.shapes.questions import TYPES
from aim.views.text_tables import markdown_table

EARLIER_CODE = "and earlier code"
UNMEASURED = "It was not measured yet."
CARD_COLUMNS = ("8 frames", "32 frames")


def origin(report: dict) -> str:
    """With which weights, and whether with the present code, as the end of a sentence."""
    aged, digits = report.get("earlier", []), report["weights"][:DIGITS]
    weights = f"{EARLIER}, `{digits}`" if WEIGHTS in aged else f"measured with weights `{digits}`"
    return f"{weights} {EARLIER_CODE}" if CODE in aged else weights


def accuracy_table(report: dict) -> str:
    """Right answers by type of question, under every column that was measured."""
    return _accuracy(report, tuple(report["columns"]))


def card_table(report: dict) -> str:
    """The same of the full model alone, for the model card."""
    return _accuracy(report, CARD_COLUMNS)


def _accuracy(report: dict, columns: tuple[str, ...]) -> str:
    first = report["columns"][columns[0]]
    rows = [["question", *(part for name in columns for part in (name, "95 % interval")), "constant guess", "questions"]]
    for kind in (*TYPES, ALL):
        if kind in first:
            cells = [part for name in columns for part in _shares(report["columns"][name][kind])]
            rows.append([kind, *cells, f"{100 * first[kind]['constant_guess']:.0f} %", f"{first[kind]['questions']:,}"])
    return f"These figures were {origin(report)}:\n\n{markdown_table(rows, aligned=False)}"


def _shares(row: dict) -> list[str]:
    return [f"{100 * row['right']:.1f} %", f"{100 * row['low']:.1f}–{100 * row['high']:.1f} %"]


def findings_table(report: dict) -> str:
    """A line for each finding: whose claim, what it is, the verdict, and the sentence of what was measured."""
    rows = [["", "the claim", "here", "measured"]]
    for finding in report["findings"]:
        claim = f"{source_of(finding)}: {finding['claim']}"
        rows.append([f"{finding['number']}. {finding['title']}", claim, f"**{finding['verdict']}**", finding["sentence"]])
    questions = max(finding["questions"] for finding in report["findings"])
    return f"The table was {origin(report)}, with {questions:,} questions a setting:\n\n{markdown_table(rows, aligned=False)}"


def same_ratio_sentence(report: dict) -> str:
    """What finding 7 measured of both chains at one merge ratio, where the official one leaves more tokens."""
    points = next(finding["points"] for finding in report["findings"] if finding["number"] == 7)

    def row(series: str) -> str:
        return ", ".join(f"{100 * point['accuracy'][ALL]['right']:.1f}" for point in points if point["series"] == series)

    ratios = ", ".join(point["x"] for point in points if point["series"] == "official chain")
    return (
        f"At one merge ratio the official chain leaves a token more of an odd grid. At ratios of {ratios} it answers "
        f"{row('official chain')} % right, and ours {row('raster chain, same ratio')} %. This was {origin(report)}."
    )


def tower_table(report: dict) -> str:
    """Finding 8: accuracy against what the vision tower takes, modelled and measured."""
    found = [finding for finding in report["findings"] if finding["number"] == 8]
    if not found:
        return UNMEASURED
    points, times = found[0]["points"], report["tower_milliseconds"]
    checks = {check["label"]: check for check in found[0]["checks"]}
    rows = [["vision tower", "under", "right", "95 % interval", "points", "tower GFLOP, modelled", "tower ms a clip, measured"]]
    for point in points:
        took = times.get(point["setting"])
        cost = [f"{point['vision_gflops']:.2f}", "–" if took is None else f"{took:.1f}"]
        told = checks.get(f"{point['x']} against the full tower, {point['series']}")
        points_lost = f"{signed(told['difference'])} ({signed(told['low'])} to {signed(told['high'])})" if told else ""
        rows.append([point["x"], point["series"], *_shares(point["accuracy"][ALL]), points_lost, *cost])
    questions = f"{found[0]['questions']:,} questions about {report['clips']:,} held-out clips"
    return (
        f"It was {origin(report)}, on {questions}. The points are the difference to the full tower, paired by question:\n\n"
        f"{markdown_table(rows, aligned=False)}"
    )


def board_table(report: dict) -> str:
    """A line for each method and a column for each budget, with the mark + where it is better than every control that was reached."""
    budgets = list(dict.fromkeys((row["frames"], row["budget"]) for row in report["rows"]))
    cells = {(row["method"], row["frames"], row["budget"]): row for row in report["rows"]}
    head = [f"{frames} frames, {'full' if budget == 1 else f'{budget}x fewer'}" for frames, budget in budgets]
    rows = [["method", *head]]
    for method in dict.fromkeys(row["method"] for row in report["rows"]):
        rows.append([method, *(_cell(cells.get((method, *place))) for place in budgets)])
    return (
        f"It was {origin(report)}, with {report['questions']:,} questions. A cell holds the share of right answers in percent and its "
        f"95 % interval. A plus marks a method that is better than every control ({', '.join(CONTROLS)}) that reaches this budget, by the "
        f"widened intervals:\n\n{markdown_table(rows, aligned=False)}"
    )


def _cell(row: dict | None) -> str:
    if row is None:
        return ""
    if "reaches" in row:
        return f"– (most {row['reaches']:.1f}x)"
    share = row["accuracy"][ALL]
    verdicts = [one["verdict"] for one in row["against"].values() if one]
    mark = " +" if row["method"] not in CONTROLS and verdicts and set(verdicts) == {BETTER} else ""
    return f"{100 * share['value']:.1f} ({100 * share['low']:.1f}–{100 * share['high']:.1f}){mark}"


def tuned_section(report: dict) -> str:
    """Agreement with the full model by budget, and where a setting went over it."""
    asked = report["budgets"][0]["questions"]
    head = f"It asked {asked} questions about {report['clips']} held-out clips, and was {origin(report)}:"
    over = [f"- {told}" for told in overruns(report)]
    return "\n\n".join([head, tuned_table(report, aligned=False), *(["\n".join(over)] if over else [])])


def recommended_section(report: dict) -> str:
    """What is recommended, and each candidate on the validation clips."""
    found, tried = report["chosen"], report["candidates"]
    told = f"{len(tried)} settings were tried on {report['clips']} validation clips, and {origin(report)}. "
    if found is None:
        return told + "None of them answers as well as the full model, so none is recommended."
    rows = [["clips", "merge ratio", "l1", "l2", "positions", "fewer FLOPs", "accuracy", "against the full model, points"]]
    rows += [["validation", *_recommended(row)] for row in sorted(tried, key=lambda row: row["speedup"])]
    rows.append([f"**test, {found['questions']:,} questions**", *_recommended(found)])
    return told + "The last row is the one that was chosen.\n\n" + markdown_table(rows)


def _recommended(row: dict) -> list[str]:
    knobs = [f"{row['merge_ratio']:g}", str(row["l1"]), str(row["l2"]), row["positions"]]
    difference = [signed(row["difference"][name]) for name in ("value", "low", "high")]
    return [*knobs, f"{row['speedup']:.1f}x", f"{100 * row['accuracy']:.1f} %", "{} ({} to {})".format(*difference)]


def guard_section(report: dict) -> str:
    """What the warning's threshold is worth."""
    caught, spared = report["warned_of_changed"], report["silent_on_unchanged"]
    budgets = f"{', '.join(text.removesuffix('x') for text in report['budgets'][:-1])} and {report['budgets'][-1].removesuffix('x')}"
    return "\n".join(
        [
            f"- All of this was {origin(report)}.",
            f"- The threshold of {report['threshold']:g} nats is the best one on {report['clips']} validation clips.",
            f"- It was measured on {report['clips']} test clips, in {report['runs']} runs with the paper's layers at {budgets} times fewer "
            f"FLOPs. In {report['changed']} of these runs the first token changed.",
            f"- The warning came after {_interval(caught)} of the changed answers.",
            f"- No warning came after {_interval(spared)} of the unchanged answers.",
            f"- Balanced accuracy, the mean of the two shares above, is {100 * report['balanced_accuracy']:.1f} %. The AUC is "
            f"{report['area']:.3f}: this is the chance that a changed answer has a larger divergence than an unchanged one.",
        ]
    )


def threshold_sentence(report: dict) -> str:
    """The threshold in a sentence."""
    return f"The threshold is {report['threshold']:g} nats, {origin(report)}."


def _interval(share: dict) -> str:
    return f"{100 * share['value']:.1f} % ({100 * share['low']:.1f}–{100 * share['high']:.1f})"
