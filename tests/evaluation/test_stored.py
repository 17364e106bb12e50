"""Stored figures: each file says of itself whether its weights and its code are present, and the READMEs say what the files say."""

import json
import re
from pathlib import Path

import pytest

from aim.commands.documents import BLOCK, PARTS, ROOT, WITH_FIGURES, written
from aim.evaluation import stored
from aim.evaluation.stored import CODE, NAMES, RANDOM, WEIGHTS, aged_words, earlier, marked, read
from aim.evaluation.tables import UNMEASURED
from aim.evaluation.weights_marks import MARK
from aim.evaluation.weights_marks import marked as weights_marked
from aim.kernels.refusal import Refusal

# What was chosen and not measured: the level of intervals, a share to merge to, the step of a budget, and a limit.
CHOSEN = {"95 %", "25 %", "30 %", "2 %", "−2 points", "4.8 GB"}
BLOCKS = [
    (document, found["part"], found["text"])
    for document in WITH_FIGURES
    for found in BLOCK.finditer((ROOT / document).read_text(encoding="utf-8"))
]


def test_a_stored_file_whose_hashes_are_not_the_present_ones_is_marked_as_earlier_and_no_other_is():
    present = {name: report for name in NAMES if (report := read(name)) is not None}
    assert "findings.json" in present and "guard.json" in present
    wrong = [name for name, report in present.items() if marked(name, report) != report]
    assert wrong == [], "run python -m aim eval --documents"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({}, []),
        ({"weights": "0" * 64}, [WEIGHTS]),
        ({"code": "0" * 64}, [CODE]),
        ({"code": None}, [CODE]),
        ({"weights": "0" * 64, "code": "0" * 64}, [WEIGHTS, CODE]),
        ({"weights": RANDOM}, []),
    ],
    ids=["fresh", "other weights", "other code", "no code named", "both", "weights do not matter"],
)
def test_a_report_is_marked_by_what_of_it_is_not_present_and_the_mark_goes_when_it_is(monkeypatch, head, expected):
    monkeypatch.setattr(stored, "code_hash", lambda _name: "c" * 64)
    monkeypatch.setattr(stored, "bundled_digest", lambda: "a" * 64)
    report = {"weights": "a" * 64, "code": "c" * 64, "figure": 1} | head
    assert earlier("guard.json", report) == expected
    once = marked("guard.json", report | {"earlier": ["something"]})
    assert once.get("earlier", []) == expected and marked("guard.json", once) == once
    assert once["figure"] == 1


def test_the_page_says_of_marked_code_that_it_is_earlier():
    report = {"weights": stored.bundled_digest(), "code": "0"}
    assert aged_words(report) == ""
    assert aged_words(report | {"earlier": [CODE]}) == "measured with earlier code"
    assert aged_words({"weights": "0", "earlier": [WEIGHTS, CODE]}) == "measured with earlier weights and code"


@pytest.mark.parametrize(("document", "part", "text"), BLOCKS, ids=[f"{document} {part}" for document, part, _ in BLOCKS])
def test_every_figure_between_the_marks_is_the_stored_files_or_said_to_be_of_earlier_code(document, part, text):
    report = read(part.split()[0])
    told = UNMEASURED if report is None else PARTS[part](report)
    if told == UNMEASURED:
        assert "earlier code" in text or text.strip() == UNMEASURED
    else:
        assert text.strip() == weights_marked(told).strip(), "run python -m aim eval --documents"
        assert "earlier code" in text or CODE not in report.get("earlier", [])


def test_every_table_of_figures_in_the_evaluations_readme_stands_between_marks():
    text = BLOCK.sub("", (ROOT / "aim/evaluation/README.md").read_text(encoding="utf-8"))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert not any(re.search(r"\d %|[+−]\d", row) and "merged to 25 %" not in row for row in rows)


@pytest.mark.parametrize("document", ["aim/evaluation/README.md", "aim/bench/README.md", "aim/tuning/README.md"])
def test_no_measured_figure_stands_outside_the_marks(document):
    text = (ROOT / document).read_text(encoding="utf-8").split("\n### Measured on an H200\n")[0]  # which says what of it no file holds
    text = re.sub(r"```.*?```|`[^`]*`", "", BLOCK.sub("", text), flags=re.S)
    measured = re.findall(r"[−+]?\d+(?:[.,]\d+)*(?:x|[ ]points?|[ ]%|[ ][mµ]?s|[ ][MG]B)(?!\w)", text)
    assert set(measured) <= CHOSEN | {f"{budget}x" for budget in (4, 10, 25)}


def test_each_part_of_the_table_stands_in_a_document():
    assert {part for _, part, _ in BLOCKS} == set(PARTS)


def test_a_document_is_written_anew_from_the_file_and_only_between_the_marks(tmp_path):
    guard = json.loads((stored.ASSETS / "guard.json").read_text())
    (tmp_path / "guard.json").write_text(json.dumps(guard | {"threshold": 0.25}))
    text = "Before.\n\n<!-- figures: guard.json threshold -->\n\nOld 0.1.\n\n<!-- end of figures -->\n\nAfter."
    after = written(text, tmp_path)
    assert after.startswith("Before.\n") and after.endswith("\nAfter.") and "0.25 nats" in after and "Old" not in after
    assert written(after, tmp_path) == after and written(text, Path(tmp_path / "none")) == text
    assert MARK.search(after)
    with pytest.raises(Refusal, match="accepted: accuracy.json table"):
        written(text.replace("threshold", "treshold"), tmp_path)
