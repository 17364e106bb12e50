"""From records to figures: for each setting accuracy by question type, cost, agreement with the full model, recall and localisation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from aim.evaluation.measure import Outcome, Record
from aim.evaluation.settings import Setting
from aim.evaluation.shrunken import frame_flops, vision_of
from aim.evaluation.statistics import Interval, Z, clustered_share, paired_difference, wilson
from aim.planning.plan import TERA, cost_of
from aim.shapes.questions import TYPES

ALL = "all"


@dataclass(frozen=True)
class Accuracy:
    """Right answers to one type of question: their share with its 95 % interval, a constant guess's share, and the number of questions."""

    right: float
    low: float
    high: float
    constant_guess: float
    questions: int


@dataclass(frozen=True)
class Summary:
    """One setting, over all clips.

    Attributes:
        setting: see `Setting`.
        accuracy: by question type, for those asked at least once, and for "all", where the constant guess knows each question's type.
        agreement: share of questions answered as the full model on the same frames answers, or None where that was not run.
        visual_per_layer: visual tokens each layer ran on.
        cost: means over the questions of `aim.planning.plan.cost_of`.
        milliseconds: median measured prefill, merging and scoring included.
        tower_milliseconds: median time of preparing and encoding a clip.
        recall, localisation: for each layer the mean evidence recall and the median localisation; None where there was none.
    """

    setting: Setting
    accuracy: dict[str, Accuracy]
    agreement: float | None
    visual_per_layer: list[int]
    cost: dict[str, float]
    milliseconds: float
    tower_milliseconds: float
    recall: list[float | None]
    localisation: list[float | None]


class Evaluation:
    """The records of a run, by setting.

    Args:
        config: the model's transformers config.
        tokens_per_frame: before merging.
    """

    def __init__(self, records: list[Record], config, tokens_per_frame: int):
        self._config, self._tokens_per_frame = config, tokens_per_frame
        self._records: dict[str, list[Record]] = {}
        for record in sorted(records, key=lambda record: record.clip):
            self._records.setdefault(record.setting, []).append(record)

    def questions(self, kind: str = ALL, about_items: bool = False) -> int:
        """Questions of a type, or those of them that are about something a frame shows. They are the same under every setting."""
        outcomes = self._outcomes(next(iter(self._records)), kind)
        return sum(outcome.recall is not None for outcome in outcomes) if about_items else len(outcomes)

    def summary(self, setting: Setting) -> Summary:
        """The figures of a setting that was run."""
        records, outcomes = self._records[setting.key], self._outcomes(setting.key)
        full = self._outcomes(setting.reference.key) if setting.reference.key in self._records else []
        layers = range(len(records[0].visual_per_layer))
        recall = [outcome.recall for outcome in outcomes if outcome.recall is not None]
        ratios = [outcome.localisation for outcome in outcomes if outcome.localisation is not None]
        return Summary(
            setting=setting,
            accuracy=accuracy_by_type(outcomes),
            agreement=fmean(o.answer == f.answer for o, f in zip(outcomes, full, strict=True)) if full else None,
            visual_per_layer=records[0].visual_per_layer,
            cost=self._cost(setting, records, outcomes),
            milliseconds=median(record.milliseconds for record in records),
            tower_milliseconds=median(record.tower_milliseconds for record in records),
            recall=[_over(fmean, [shares[layer] for shares in recall]) for layer in layers],
            localisation=[_over(median, [ratio for row in ratios if (ratio := row[layer]) is not None]) for layer in layers],
        )

    def difference(self, first: Setting, second: Setting, kind: str = ALL, z: float = Z) -> Interval:
        """Accuracy under `first` less that under `second` on the questions of a type, with its interval (`paired_difference`)."""
        ours, theirs = (np.array([outcome.right for outcome in self._outcomes(setting.key, kind)]) for setting in (first, second))
        return paired_difference(ours, theirs, self._clips(first.key, kind), z)

    def share(self, setting: Setting, kind: str = ALL) -> Interval:
        """Accuracy on the questions of a type, with an interval that keeps clips whole (`clustered_share`)."""
        return clustered_share(np.array([o.right for o in self._outcomes(setting.key, kind)]), self._clips(setting.key, kind))

    def recall_difference(self, first: Setting, second: Setting, kind: str = ALL, z: float = Z) -> Interval:
        """As `difference`, of the evidence kept: of each question the mean recall over the layers. Both settings have the same frames."""
        (ours, clips), (theirs, _) = self._recalls(first.key, kind), self._recalls(second.key, kind)
        return paired_difference(ours, theirs, clips, z)

    def recall_share(self, setting: Setting, kind: str = ALL) -> Interval:
        """The mean evidence kept, from 0 to 1, with an interval that keeps clips whole."""
        shares, clips = self._recalls(setting.key, kind)
        mean = paired_difference(shares, np.zeros(len(shares)), clips)
        return Interval(mean.value, max(0.0, mean.low), min(1.0, mean.high))

    def _recalls(self, key: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Of each question about something that a frame shows, the mean recall over the layers, and its clip."""
        pairs = [
            (fmean(outcome.recall), record.clip)
            for record in self._records[key]
            for outcome in record.outcomes
            if outcome.recall is not None and kind in (ALL, outcome.type)
        ]
        return np.array([share for share, _ in pairs]), np.array([clip for _, clip in pairs])

    def _clips(self, key: str, kind: str) -> np.ndarray:
        """The clip of each question of a type, in the order of `_outcomes`."""
        return np.array([record.clip for record in self._records[key] for o in record.outcomes if kind in (ALL, o.type)])

    def _outcomes(self, key: str, kind: str = ALL) -> list[Outcome]:
        return [outcome for record in self._records[key] for outcome in record.outcomes if kind in (ALL, outcome.type)]

    def _cost(self, setting: Setting, records: list[Record], outcomes: list[Outcome]) -> dict[str, float]:
        """The mean over the questions, whose costs differ only by their text tokens, and over the frames that a reduced tower saw."""
        frames, visual = setting.frames, records[0].visual_per_layer
        lengths = [one for record in records for one in record.tower_lengths]
        counts = Counter(outcome.text_tokens for outcome in outcomes)
        total: Counter[str] = Counter()
        for text, count in counts.items():
            pairs = [(tokens, text) for tokens in visual]
            before = frames, frames * self._tokens_per_frame
            cost = cost_of(self._config, pairs, *before, setting.method, tower=setting.tower, tower_lengths=lengths)
            if setting.shrunk:
                cost["vision_tflops"] = frames * frame_flops(vision_of(self._config), setting.shrunk) / TERA
            total.update({name: value * count for name, value in cost.items()})
        return {name: value / len(outcomes) for name, value in total.items()}


def accuracy_by_type(outcomes: list[Outcome]) -> dict[str, Accuracy]:
    """Accuracy for each type that was asked, in the order of `TYPES`, and over all questions as "all"."""
    table, guessed = {}, 0
    for kind in TYPES:
        asked = [outcome for outcome in outcomes if outcome.type == kind]
        if asked:
            commonest = max(Counter(outcome.truth for outcome in asked).values())
            table[kind] = _accuracy(asked, commonest)
            guessed += commonest
    table[ALL] = _accuracy(outcomes, guessed)
    return table


def _accuracy(asked: list[Outcome], guessed: int) -> Accuracy:
    share = wilson(sum(outcome.right for outcome in asked), len(asked))
    return Accuracy(share.value, share.low, share.high, guessed / len(asked), len(asked))


def _over(mean, values: list[float]) -> float | None:
    return mean(values) if values else None
