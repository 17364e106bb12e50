"""What the bundled model answers: the full model on 8 and on 32 frames, and merged to a quarter on 8. It is README.md's table."""

from __future__ import annotations

from dataclasses import asdict

from aim.evaluation.settings import Setting
from aim.evaluation.summary import Evaluation
from aim.methods import AIM, Full

# Column → what is measured. l1 and l2 of a merge without dropping lie behind the model's last layer.
COLUMNS: dict[str, Setting] = {
    "8 frames": Setting(Full(), 8),
    "merged to 25 %": Setting(AIM(merge_ratio=0.25, l1=12, l2=13), 8),
    "32 frames": Setting(Full(), 32),
}


def accuracy_report(evaluation: Evaluation) -> dict:
    """Accuracy by column and type of question with clustered intervals, as plain values for JSON."""
    columns = {}
    for name, setting in COLUMNS.items():
        rows = evaluation.summary(setting).accuracy
        columns[name] = {kind: asdict(row) | _interval(evaluation, setting, kind) for kind, row in rows.items()}
    return {"questions": evaluation.questions(), "columns": columns}


def _interval(evaluation: Evaluation, setting: Setting, kind: str) -> dict:
    share = evaluation.share(setting, kind)
    return {"low": share.low, "high": share.high}
