"""`python -m aim eval --everything`: every stored figure, measured into its file in `assets/`, one part after the other.

A part whose file is of the present weights and code is left as it is. A part that was cut off goes on from the answers in `.evaluation/`,
and only the tables of times, which no two runs give alike, begin anew.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aim.commands.documents import write_documents
from aim.commands.eval import CLIPS
from aim.evaluation import guard_threshold, recommended, stored, tuned_settings
from aim.evaluation.clips import QUESTIONS_PER_CLIP, tokens_a_side
from aim.evaluation.confirming import ANSWERS, digests
from aim.evaluation.measure import Record
from aim.evaluation.provenance import code_hash
from aim.evaluation.recorded import RECORDED
from aim.evaluation.run import WORK, records_folder, run
from aim.evaluation.settings import Setting
from aim.evaluation.summary import Evaluation
from aim.kernels.refusal import Refusal
from aim.runtime.vlm import VLM, load
from aim.runtime.weights import weights_digest
from aim.views.text_tables import plain_table

LEAST_CLIPS = 2  # an interval needs two
LEAST_HELD_OUT = 4  # the first two with a needle question, which finding 3 asks for, are among so many
TRIAL = "everything-"
TOWERS = "--end-to-end --still 0.5 --tower-merge 0.3 --tower-reuse 0.03137"


@dataclass(frozen=True)
class Session:
    """What all parts share.

    Attributes:
        questions: None for all; else about so many, for trying it out.
        work: where answers are kept and a part goes on.
        folder: where the stored files go.
    """

    vlm: VLM
    weights: str
    questions: int | None
    processes: int
    work: Path
    folder: Path

    def clips(self, usual: int, of_each: int) -> int:
        """How many clips a part takes that usually takes `usual`, with so many questions of each."""
        return usual if self.questions is None else min(usual, max(LEAST_CLIPS, math.ceil(self.questions / of_each)))

    @property
    def held_out(self) -> int:
        """How many clips the findings, the board and the table of accuracy take."""
        return max(LEAST_HELD_OUT, self.clips(CLIPS, QUESTIONS_PER_CLIP))

    def run(self, settings: list[Setting], clips: int, split: str = "test") -> list[Record]:
        """The answers about the first clips, those that are there among them."""
        folder = records_folder(self.vlm.name, split, self.weights, self.work)
        return run(self.vlm, settings, clips, split, folder, self.processes)

    def evaluation(self, records: list[Record]) -> Evaluation:
        return Evaluation(records, self.vlm.model.config, tokens_a_side(self.vlm) ** 2)


def _recorded(name: str) -> Callable[[Session], dict]:
    """A file that is made from answers about held-out clips."""

    def measure(session: Session) -> dict:
        settings, report = RECORDED[name](session.vlm)
        records = session.run(settings, session.held_out)
        head = stored.about(name, session.weights) | {"split": "test", "clips": session.held_out}
        return head | report(session.evaluation(records)) | {ANSWERS: digests(records)}

    return measure


def _recommended(session: Session) -> dict:
    clips = session.held_out
    validation = session.evaluation(session.run([recommended.FULL, *recommended.candidates()], clips, "validation"))
    setting = recommended.chosen(validation)
    test = session.evaluation(session.run([recommended.FULL, setting], clips)) if setting else None
    head = stored.about(recommended.FILE, session.weights) | {"clips": clips}
    return head | recommended.recommended_report(validation, setting, test)


def _guard(session: Session) -> dict:
    clips = session.clips(guard_threshold.CLIPS, tuned_settings.QUESTIONS)
    return guard_threshold.calibrate(session.vlm.name, session.weights, clips, session.processes, session.work, _tell)


def _tuned(session: Session) -> dict:
    clips = session.clips(tuned_settings.CLIPS, tuned_settings.QUESTIONS)
    name, budgets = session.vlm.name, tuned_settings.BUDGETS
    return tuned_settings.compare(name, session.weights, clips, budgets, session.processes, session.work, _tell)


def _times(name: str, flags: str, short: str) -> Callable[[Session], dict]:
    """`python -m aim bench` in a process of its own, whose memory nothing else takes; with other flags where it is only tried out."""

    def measure(session: Session) -> dict:
        command = f"bench {flags if session.questions is None else short}"
        ended = subprocess.run([sys.executable, "-m", "aim", *command.split(), "--json"], stdout=subprocess.PIPE, text=True, check=False)
        if ended.returncode:
            raise Refusal(f"python -m aim {command} ended with code {ended.returncode}; its message stands above. Run it alone.")
        return stored.about(name, stored.RANDOM) | {"command": f"python -m aim {command.strip()}"} | json.loads(ended.stdout)

    return measure


@dataclass(frozen=True)
class Part:
    """A stored file and how it is measured.

    Attributes:
        each: seconds of one core that a clip takes. A part that finds answers of another one takes less.
        fixed: seconds that it takes besides, on two cores.
    """

    name: str
    measure: Callable[[Session], dict]
    each: float = 0.0
    fixed: float = 0.0
    usual: int = 0
    of_each: int = 1

    def estimate(self, session: Session) -> float:
        """Seconds, if nothing of it is there yet."""
        short = self.fixed if session.questions is None else min(self.fixed, 30)
        return short + self.each * session.clips(self.usual, self.of_each) / session.processes


# In this order. The first two are short and decide most. The times come last, when nothing else of this command runs.
PARTS = (
    Part("accuracy.json", _recorded("accuracy.json"), 4.0, 10, CLIPS, QUESTIONS_PER_CLIP),
    Part(recommended.FILE, _recommended, 6.0, 10, CLIPS, QUESTIONS_PER_CLIP),
    Part("guard.json", _guard, 5.0, 10, guard_threshold.CLIPS, tuned_settings.QUESTIONS),
    Part("findings.json", _recorded("findings.json"), 50.0, 10, CLIPS, QUESTIONS_PER_CLIP),
    Part("board.json", _recorded("board.json"), 42.0, 10, CLIPS, QUESTIONS_PER_CLIP),
    Part("tuned.json", _tuned, 14.0, 60, tuned_settings.CLIPS, tuned_settings.QUESTIONS),
    Part("bench.json", _times("bench.json", "", "--model bundled --frames 4 --runs 1 --new-tokens 2"), fixed=600),
    Part(
        "end_to_end.json",
        _times(
            "end_to_end.json",
            f"--frames 8 {TOWERS}",
            f"--model bundled --frames 2 {TOWERS} --runs 1 --new-tokens 2",
        ),
        fixed=600,
    ),
    Part("growth.json", _times("growth.json", "--growth", "--model bundled --growth --frames 2 4 --new-tokens 2"), fixed=600),
)


def everything(model: str, questions: int | None, processes: int | None, work: Path | None) -> str:
    """Measure every part that is not there yet, and return how long each took.

    Raises:
        Refusal: another model than the bundled one without `questions`, numbers out of range, or parts that could not be measured.
    """
    if questions is not None and questions < 1:
        raise Refusal(f"--questions is {questions}; accepted: 1 or more. Leave it out to measure all, and to write the files in assets/.")
    if questions is None and model != "bundled":
        raise Refusal("--everything writes the figures of the bundled model; leave out --model, or try it with --questions 40.")
    vlm, work = load(model, device="cpu"), work or WORK
    folder = stored.ASSETS if questions is None else work / f"{TRIAL}{questions}"
    session = Session(vlm, weights_digest(vlm.model), questions, processes or os.cpu_count() or 1, work, folder)
    left = [part for part in PARTS if not _is_there(part, session)]
    _announce(left, session)
    rows, failed = [["part", "time"]], []
    for part in PARTS:
        took = "kept"
        if part in left:
            start = time.perf_counter()
            _tell(f"{part.name}: begins")
            try:
                stored.write(part.name, part.measure(session), folder)
            except Refusal as refusal:
                failed.append(f"{part.name}: {refusal}")
                _tell(failed[-1])
            took = "not measured" if failed and failed[-1].startswith(part.name) else _words(time.perf_counter() - start)
        rows.append([part.name, took])
    table = plain_table(rows)
    if failed:
        _tell(table)
        raise Refusal("Not all was measured. " + " ".join(failed))
    return "\n\n".join([table, f"The files are in {folder.name}/.", *([write_documents()] if questions is None else [])])


def _is_there(part: Part, session: Session) -> bool:
    report = stored.read(part.name, session.folder)
    return report is not None and not stored.earlier(part.name, report, session.weights)


def _announce(left: list[Part], session: Session) -> None:
    """Say what is kept, what will be measured and for about how long, and which answers are left alone since they are of something else."""
    for part in PARTS:
        told = f"about {_words(part.estimate(session))}" if part in left else "kept, it is of the present weights and code"
        _tell(f"{part.name}: {told}")
    _tell(f"all: about {_words(sum(part.estimate(session) for part in left))} at most on {session.processes} quiet cores")
    present = [f"{session.weights[:8]}-{code_hash(name)[:8]}" for name in ("records", "guard.json", "tuned.json")]
    answers = [path.name for path in sorted(session.work.glob("*-*")) if not path.name.startswith(TRIAL)]
    others = [name for name in answers if not any(mark in name for mark in present)]
    if others:
        _tell(f"Left alone, since they are of other weights, code or clips: {', '.join(others)}")


def _words(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
