"""All ten findings: their settings and the report that is stored of them."""

from __future__ import annotations

from aim.evaluation.findings import Finding, judge
from aim.evaluation.suites import findings
from aim.evaluation.suites_of_methods import findings_of_methods
from aim.evaluation.summary import Evaluation
from aim.runtime.vlm import VLM


def every_finding(vlm: VLM) -> list[Finding]:
    """The paper's seven claims and the three that follow, in order.

    Raises:
        Refusal: a model of another depth than the bundled one's.
    """
    return findings(vlm.model.config) + findings_of_methods(vlm)


def findings_report(chosen: list[Finding], evaluation: Evaluation) -> dict:
    """The findings as `judge` has them, as plain values for JSON, and apart from them the measured times of the vision tower."""
    times = {label: took for finding in chosen for label, took in tower_times(finding, evaluation).items()}
    return {"findings": [judge(finding, evaluation) for finding in chosen], "tower_milliseconds": times}


def tower_times(finding: Finding, evaluation: Evaluation) -> dict[str, float]:
    """Of a finding with reduced towers, by setting the median milliseconds of preparing and encoding a clip; else nothing."""
    settings = finding.settings()
    if all(setting.tower is None for setting in settings):
        return {}
    # Shrunken frames are enlarged again, so their time is no saving.
    return {setting.label: evaluation.summary(setting).tower_milliseconds for setting in settings if not setting.shrunk}
