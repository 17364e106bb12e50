"""Every stored figure names its weights, and one of earlier weights is said to be so: in the documents, on the page and in the warning."""

import json
import re
from pathlib import Path

import pytest
import torch

import aim
from aim.evaluation.findings import FINDINGS_FILE
from aim.evaluation.weights_marks import DOCUMENTS, MARK, marked
from aim.families.names import BUNDLED
from aim.runtime import weights
from aim.runtime.weights import EARLIER, are_earlier, bundled_digest, weights_digest
from aim.tuning import trust
from aim.tuning.calibration import Calibration, calibration
from aim.tuning.trust import guard
from aim.ui.tabs.evidence import introduction

ROOT = Path(aim.__file__).parents[1]
STORED = [  # (document, the heading of a section that holds measured figures)
    ("aim/evaluation/README.md", "Accuracy of the bundled model"),
    ("aim/evaluation/README.md", "The paper's claims"),
    ("aim/evaluation/README.md", "Tuned settings"),
    ("aim/evaluation/README.md", "The warning"),
    ("aim/tuning/README.md", "The warning"),
    ("assets/shapes-vlm/README.md", "Accuracy"),
]


@pytest.fixture
def other_weights(monkeypatch):
    """As if the bundled model had been trained again."""
    monkeypatch.setattr(weights, "bundled_digest", lambda: "0" * 64)


def section(document, heading):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


@pytest.mark.parametrize(("document", "heading"), STORED)
def test_each_section_with_measured_figures_names_their_weights(document, heading):
    assert MARK.search(section(document, heading))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_says_of_earlier_weights_that_they_are_earlier_and_of_no_others(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert MARK.search(text)
    assert marked(text) == text, "run python -m aim eval --documents"


def test_no_other_document_names_weights_by_the_way():
    named = {
        file.relative_to(ROOT).as_posix()
        for folder in ("aim", "assets")
        for file in (ROOT / folder).rglob("*.md")
        if MARK.search(file.read_text())
    }
    assert named | {"README.md"} == set(DOCUMENTS)


def test_marks_come_with_other_weights_and_go_when_a_figure_is_measured_again(monkeypatch):
    digits = "abcdef012345"
    monkeypatch.setattr(weights, "bundled_digest", lambda: digits + "0" * 52)
    old, new = "It was measured with weights `0123456789ab`.", f"It was measured with weights `{digits}`."
    assert marked(old) == f"It was {EARLIER}, `0123456789ab`." == marked(marked(old))
    assert marked(new) == new == marked(f"It was {EARLIER}, `{digits}`.")


def test_the_digest_tells_weights_apart_and_not_their_number_type():
    model = torch.nn.Linear(3, 2).half()
    digest = weights_digest(model)
    assert weights_digest(model.float()) == digest
    with torch.no_grad():
        model.weight[0, 0] += 1
    assert weights_digest(model) != digest
    assert bundled_digest() == weights_digest(aim.load(str(BUNDLED), device="cpu").model)


def test_the_threshold_and_the_findings_carry_the_digits_that_the_documents_name():
    assert f"{calibration().threshold}" in section("aim/tuning/README.md", "The warning")
    for document in ("aim/tuning/README.md", "aim/evaluation/README.md"):
        assert calibration().weights.startswith(MARK.search(section(document, "The warning"))[1])
    findings = json.loads(FINDINGS_FILE.read_text())["weights"]
    assert findings.startswith(MARK.search(section("aim/evaluation/README.md", "The paper's claims"))[1])


def test_the_page_says_so_beside_the_findings(other_weights):
    report = json.loads(FINDINGS_FILE.read_text())
    assert EARLIER in introduction(report)
    assert EARLIER not in introduction({**report, "weights": "0" * 64})


def test_the_warning_says_so_of_its_threshold(other_weights, monkeypatch):
    monkeypatch.setattr(trust, "calibration", lambda: Calibration(0.0, calibration().weights))
    vlm, question = aim.load("bundled", device="cpu"), "Which way does the triangle move?"
    clip = aim.read_video(BUNDLED.parent / "examples" / "direction.mp4", 2)
    answer = vlm.ask(clip, question, aim.AIM(merge_ratio=0.1, l1=1, l2=3), max_new_tokens=1)
    assert are_earlier(calibration().weights)
    assert EARLIER in guard(vlm, clip, question, answer).sentence
