"""What the tests of the benchmark share: an untrained model of the bundled shape, and records made by hand."""

import torch

import aim
from aim.evaluation.measure import Outcome, Record
from aim.shapes.model import build_model, save


def untrained(folder, seed=0):
    """A loaded model of the bundled architecture with random weights, which answers quickly and wrongly."""
    torch.manual_seed(seed)
    save(build_model(), folder)
    return aim.load(str(folder), device="cpu")


def record(setting, clip, rights, types=None, visual=None, answers=None, text_tokens=13):
    """A record with these questions right or not; a wrong answer is "wrong", the truth "right"."""
    outcomes = []
    for number, right in enumerate(rights):
        answer = answers[number] if answers else "right" if right else "wrong"
        kind = types[number] if types else "colour"
        outcomes.append(Outcome(kind, "right", answer, bool(right), text_tokens, None, None))
    return Record(setting.key, clip, visual or [setting.frames * 49] * 12, outcomes, 1.0)
