"""Rows of JSON by name in a file, so that a measurement that was cut off goes on after the last row that was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aim.evaluation.pool import in_order
from aim.evaluation.results import append_line, read_lines
from aim.kernels.refusal import Refusal


class Rows:
    """The rows of one file, whose first line says what they are of. A line that was cut off in the middle is dropped.

    Args:
        subject: the weights, the code and whatever else decides a row.

    Raises:
        Refusal: the file holds rows of another subject.
    """

    def __init__(self, file: Path, subject: dict):
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = read_lines(file)
        if not lines:
            append_line(file, subject)
        elif lines[0] != subject:
            what = " and ".join(name for name in subject if lines[0].get(name) != subject[name])
            raise Refusal(f'The rows in "{file.name}" are of other {what}, and are not mixed with fresh ones. Delete the file.')
        self._rows = {line["name"]: line["row"] for line in lines[1:]}

    def all(self, names: list[str], measure: Callable[[str], Any], processes: int, done: Callable[[str], None]) -> list[Any]:
        """The row of each name, in this order. What the file does not hold is measured first.

        Args:
            measure: (name) → its row, as plain values for JSON. It must not depend on `processes`.
            done: is told each name that was measured.
        """
        missing = [name for name in names if name not in self._rows]
        for name, row in zip(missing, in_order(measure, missing, processes), strict=True):
            append_line(self.file, {"name": name, "row": row})
            self._rows[name] = row
            done(name)
        # Through JSON, so that fresh rows are the very values that a resumed run reads.
        return [json.loads(json.dumps(self._rows[name])) for name in names]
