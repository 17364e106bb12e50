"""`python -m aim eval --documents`: the figures in the READMEs, written anew from the stored files between their marks.

A block begins with `<!-- figures: FILE PART -->` and ends with `<!-- end of figures -->`. A block whose figures are not stored yet stays as
it is, and says that they are of earlier code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import aim
from aim.bench.gpu import tables as gpu_tables
from aim.bench.tables import bench_table, end_to_end_table, growth_table
from aim.evaluation import stored, tables
from aim.evaluation.weights_marks import DOCUMENTS, marked
from aim.kernels.refusal import Refusal

ROOT = Path(aim.__file__).parents[1]
# What a mark names → what is written there, of the report that is stored.
PARTS: dict[str, Callable[[dict], str]] = {
    "accuracy.json table": tables.accuracy_table,
    "accuracy.json card": tables.card_table,
    "findings.json table": tables.findings_table,
    "findings.json chains": tables.same_ratio_sentence,
    "findings.json tower": tables.tower_table,
    "board.json table": tables.board_table,
    "recommended.json table": tables.recommended_section,
    "tuned.json table": tables.tuned_section,
    "guard.json list": tables.guard_section,
    "guard.json threshold": tables.threshold_sentence,
    "bench.json table": bench_table,
    "end_to_end.json table": end_to_end_table,
    "growth.json table": growth_table,
    "gpu.json prefill": gpu_tables.prefill_table,
    "gpu.json end-to-end": gpu_tables.end_to_end_table,
    "gpu.json growth": gpu_tables.growth_table,
    "gpu.json PageRank": gpu_tables.pagerank_table,
}
WITH_FIGURES = (*DOCUMENTS, "aim/bench/README.md")
BLOCK = re.compile(r"<!-- figures: (?P<part>[^>]*?) -->\n(?P<text>.*?)\n<!-- end of figures -->", re.S)


def written(text: str, folder: Path = stored.ASSETS) -> str:
    """A document in which every block whose file is stored holds what that file says.

    Raises:
        Refusal: a mark names no known part.
    """

    def block(found: re.Match) -> str:
        part = found["part"]
        if part not in PARTS:
            raise Refusal(f"A README names the figures {part!r}; accepted: {', '.join(PARTS)}. Mend its mark.")
        report = stored.read(part.split()[0], folder)
        body = tables.UNMEASURED if report is None else PARTS[part](report)
        body = found["text"] if body == tables.UNMEASURED else f"\n{body}\n"
        return f"<!-- figures: {part} -->\n{body}\n<!-- end of figures -->"

    return BLOCK.sub(block, text)


def write_documents() -> str:
    """Mark the stored files and write all documents, and say what has changed."""
    told = [f"{name} is marked anew." for name in stored.mark_all()]
    for name in WITH_FIGURES:
        file = ROOT / name
        before = file.read_text(encoding="utf-8")
        after = marked(written(before))
        if after != before:
            file.write_text(after, encoding="utf-8")
            told.append(f"{name} is written anew.")
    return "\n".join(told or ["All documents say what the stored files say."])
