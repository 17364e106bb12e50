"""The folder of a run: what was measured so far, one line of JSON for each setting and clip, so that a run goes on where it was cut off.

`records.jsonl` holds the answers, and `times.jsonl` the measured milliseconds, which are never the same twice. `of.json` says which model,
clips and code they belong to, so that no other run takes them for its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from aim.evaluation.measure import Outcome, Record
from aim.evaluation.provenance import code_hash
from aim.kernels.refusal import Refusal


class ResultsFolder:
    """The records in one folder; `add` appends, a line cut off in the middle is dropped.

    Raises:
        Refusal: the folder belongs to a run on another model, split or code.
    """

    def __init__(self, folder: Path, weights: str, split: str):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        subject = {"weights": weights, "split": split, "code": code_hash("records")}
        label = folder / "of.json"
        if label.exists() and json.loads(label.read_text()) != subject:
            raise Refusal(f'The results in "{folder.name}" are of another model, split or code; give --out another folder or delete it.')
        label.write_text(json.dumps(subject) + "\n")
        times = {(line["setting"], line["clip"]): line for line in read_lines(folder / "times.jsonl")}
        self._records: dict[tuple[str, int], Record] = {}
        for line in read_lines(folder / "records.jsonl"):
            place = line["setting"], line["clip"]
            if place in times:  # times are written first, so a record without them was never finished
                outcomes = [Outcome(**outcome) for outcome in line["outcomes"]]
                took = times[place]["milliseconds"], line["tower_lengths"], times[place]["tower_milliseconds"]
                self._records[place] = Record(*place, line["visual_per_layer"], outcomes, *took)

    def __contains__(self, place: tuple[str, int]) -> bool:
        return place in self._records

    def __getitem__(self, place: tuple[str, int]) -> Record:
        """The record of (setting key, clip)."""
        return self._records[place]

    def add(self, record: Record) -> None:
        """Append a record to the files."""
        place = {"setting": record.setting, "clip": record.clip}
        answers = asdict(record)
        milliseconds = round(answers.pop("milliseconds"), 3)
        tower = round(answers.pop("tower_milliseconds"), 3)
        append_line(self.folder / "times.jsonl", {**place, "milliseconds": milliseconds, "tower_milliseconds": tower})
        append_line(self.folder / "records.jsonl", answers)
        # With the rounded times, as a run that resumes reads them.
        self._records[record.setting, record.clip] = replace(record, milliseconds=milliseconds, tower_milliseconds=tower)


def read_lines(file: Path) -> list[dict]:
    """The entries of a file of JSON lines. The file is cut back to its last whole line."""
    if not file.exists():
        return []
    whole, _, rest = file.read_text(encoding="utf-8").rpartition("\n")
    if rest:
        file.write_text(whole + "\n" if whole else "", encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def append_line(file: Path, line: dict) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")
