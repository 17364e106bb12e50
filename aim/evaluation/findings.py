"""The paper's claims as checks on paired differences, and the verdicts that follow from them by rule.

A check compares two settings on the same questions. "better" is confirmed when the whole 95 % interval of the difference lies above 0, and
"as good" when it lies above -`MARGIN`. What the measurement leaves open is not confirmed. A finding "holds" when all of its checks are
confirmed, "holds partly" when some are, and "does not hold here" when none is. `suites` and `suites_of_methods` have the claims.

What is compared is accuracy, or the evidence kept (`Finding.figure`). A finding that looks at many methods for those that are ahead has
its intervals widened, so that all of its checks hold at once with 95 % (Bonferroni).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from aim.evaluation.settings import Setting
from aim.evaluation.statistics import Interval, Z, widened
from aim.evaluation.summary import ALL, Evaluation
from aim.families.names import BUNDLED

FINDINGS_FILE = BUNDLED.parent / "findings.json"
MARGIN = 0.02
BETTER, AS_GOOD = "better", "as good"
HOLDS, PARTLY, DOES_NOT_HOLD = "holds", "holds partly", "does not hold here"
ACCURACY, RECALL = "accuracy", "recall"
FIGURES = {ACCURACY: "correct answers", RECALL: "evidence kept"}


@dataclass(frozen=True)
class Point:
    """A setting in a finding's chart and table: the line it belongs to and its place on the axis."""

    series: str
    x: str
    setting: Setting


@dataclass(frozen=True)
class Check:
    """What the claim expects of the figure under `first` less that under `second`, on questions of type `kind`.

    `expected` is BETTER or AS_GOOD, or None where the paper claims nothing. The checks that are `told` make the finding's sentence.
    Where a finding has several claims, `claim` names the one that this check belongs to.
    """

    label: str
    first: Setting
    second: Setting
    expected: str | None
    kind: str = ALL
    told: bool = False
    claim: str = ""


@dataclass(frozen=True)
class Finding:
    """A claim of the paper, the settings measured for it, and the checks that decide it.

    `axis` names what `Point.x` is, `kinds` the question types that are shown; `lines` connects a series where the axis has an order.
    `source` is whose claim it is, `figure` is ACCURACY or RECALL, and with `widened` all checks hold at once with 95 %.
    """

    number: int
    title: str
    claim: str
    axis: str
    points: list[Point]
    checks: list[Check]
    kinds: tuple[str, ...] = (ALL,)
    lines: bool = True
    source: str = "the paper"
    figure: str = ACCURACY
    widened: bool = False

    def settings(self) -> list[Setting]:
        """Every setting of the finding, once."""
        points, pairs = [point.setting for point in self.points], [s for check in self.checks for s in (check.first, check.second)]
        return list(dict.fromkeys(points + pairs))


def confirmed(expected: str, difference: Interval) -> bool:
    """Whether a measured difference confirms what was expected of it, by the rule at the head of this module."""
    return difference.low > {BETTER: 0.0, AS_GOOD: -MARGIN}[expected]


def verdict(confirmations: list[bool]) -> str:
    """The verdict on a finding from its claimed checks, at least one."""
    if all(confirmations):
        return HOLDS
    return PARTLY if any(confirmations) else DOES_NOT_HOLD


def judge(finding: Finding, evaluation: Evaluation) -> dict:
    """A finding with its points, checks, verdict and one sentence, as plain values for JSON. Times differ every run: none are in it."""
    z = widened(len(finding.checks)) if finding.widened else Z
    checks = [_judged(check, finding.figure, evaluation, z) for check in finding.checks]
    claimed = [check["confirmed"] for check in checks if check["expected"] is not None]
    told = [check for check, stated in zip(checks, finding.checks, strict=True) if stated.told]
    claims = {
        name: verdict([check["confirmed"] for check in checks if check["claim"] == name and check["expected"] is not None])
        for name in dict.fromkeys(check.claim for check in finding.checks if check.claim)
    }
    return {
        "number": finding.number,
        "title": finding.title,
        "source": finding.source,
        "claim": finding.claim,
        "verdict": verdict(claimed),
        "sentence": _sentence(claimed, told, claims, finding.figure),
        "command": f"python -m aim eval --findings {finding.number}",
        "questions": evaluation.questions(),
        "axis": finding.axis,
        "figure": finding.figure,
        "widened": len(finding.checks) if finding.widened else 1,
        "kinds": list(finding.kinds),
        "lines": finding.lines,
        "claims": claims,
        "points": [_measured(point, finding, evaluation) for point in finding.points],
        "checks": checks,
    }


def _judged(check: Check, figure: str, evaluation: Evaluation, z: float) -> dict:
    compare = {ACCURACY: evaluation.difference, RECALL: evaluation.recall_difference}[figure]
    difference = compare(check.first, check.second, check.kind, z)
    return {
        "label": check.label,
        "claim": check.claim,
        "kind": check.kind,
        "questions": evaluation.questions(check.kind, figure == RECALL),
        "expected": check.expected,
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "confirmed": None if check.expected is None else confirmed(check.expected, difference),
    }


def _measured(point: Point, finding: Finding, evaluation: Evaluation) -> dict:
    summary = evaluation.summary(point.setting)
    recall = evaluation.recall_share(point.setting) if finding.figure == RECALL else None
    return {
        "series": point.series,
        "x": point.x,
        "setting": point.setting.label,
        "visual_per_layer": summary.visual_per_layer,
        "prefill_gflops": 1000 * summary.cost["prefill_tflops"],
        "vision_gflops": 1000 * summary.cost["vision_tflops"],
        "overhead_gflops": 1000 * (summary.cost["merge_tflops"] + summary.cost["importance_tflops"]),
        "accuracy": {kind: asdict(summary.accuracy[kind]) for kind in finding.kinds},
        **({"recall": {ALL: {"right": recall.value, "low": recall.low, "high": recall.high}}} if recall else {}),
        "agreement": summary.agreement,
    }


def shares(finding: dict, point: dict, kind: str) -> dict:
    """What a point of a judged finding shows for a type of question: `right`, `low` and `high`, each from 0 to 1."""
    return point[finding.get("figure", ACCURACY)][kind]


def shown(finding: dict) -> str:
    """In words, what `shares` are of."""
    return FIGURES[finding.get("figure", ACCURACY)]


def source_of(finding: dict) -> str:
    """Whose claim a judged finding puts to the test, to begin a line with."""
    source = finding.get("source", "the paper")
    return source[0].upper() + source[1:]


def _sentence(claimed: list[bool], told: list[dict], claims: dict[str, str], figure: str) -> str:
    differences = "; ".join(
        f"{check['label']} {signed(check['difference'])} points ({signed(check['low'])} to {signed(check['high'])})" for check in told
    )
    verdicts = f" By claim: {'; '.join(f'{name} {found}' for name, found in claims.items())}." if claims else ""
    what = {ACCURACY: "Accuracy", RECALL: "Evidence kept"}[figure]
    return f"{sum(claimed)} of {len(claimed)} checks confirmed.{verdicts} {what}: {differences}."


def signed(share: float) -> str:
    """A difference of shares in points, with its sign: 0.031 → "+3.1"."""
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")
