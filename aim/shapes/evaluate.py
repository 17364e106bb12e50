"""How often the bundled model is right on held-out clips: `python -m aim.shapes.evaluate`.

The full model, no tokens merged or pruned. Greedy first token against the one right word, among the whole vocabulary; scenes of the
"test" split, which no training step has drawn. Questions are the ones `questions.choose` picks, so "always" is not over-represented.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter

import numpy as np
import torch

from aim.checkpoints import load_checkpoint
from aim.shapes.model import IMAGE_SIZE, TOKENS_PER_FRAME
from aim.shapes.packing import NO_LABEL, camera, pack, packed_logits, to_pixels, use_packed_attention, visual_embeddings
from aim.shapes.questions import TYPES, ask_about, choose
from aim.shapes.scenes import frame_times, make_scene

QUESTIONS_PER_CLIP = 10
CLIPS_PER_BATCH = 10


def evaluate(model, tokenizer, clips: int, frames: int = 8, split: str = "test") -> dict[str, dict[str, float]]:
    """Accuracy by question type, and over all as "all".

    Returns:
        For each type: `right` (share, 0 to 1), `low` and `high` (its 95 % Wilson interval), `chance` (the share of the type's commonest
        answer, what a constant guess would get) and `questions`.
    """
    use_packed_attention(model)
    right: Counter[str] = Counter()
    answers: dict[str, Counter[str]] = {name: Counter() for name in TYPES}
    for first in range(0, clips, CLIPS_PER_BATCH):
        seen, questions = [], []
        for index in range(first, min(first + CLIPS_PER_BATCH, clips)):
            rng = np.random.default_rng([4, index])
            scene = make_scene(split, index)
            seen.append(camera(scene, frame_times(frames), IMAGE_SIZE, rng))
            questions.append(choose(ask_about(scene, rng), QUESTIONS_PER_CLIP, rng))
        batch = pack(questions, TOKENS_PER_FRAME * frames + 1, tokenizer)
        with torch.no_grad():
            logits = packed_logits(model, batch, visual_embeddings(model, to_pixels(np.stack(seen))))
        truth, types = batch.labels[batch.labels != NO_LABEL], batch.types[batch.labels != NO_LABEL]
        for token, guess, number in zip(truth.tolist(), logits.argmax(-1).tolist(), types.tolist(), strict=True):
            if number >= 0:
                answers[TYPES[number]][token] += 1
                right[TYPES[number]] += token == guess
    table = {name: _row(right[name], answers[name].total(), max(answers[name].values(), default=0)) for name in TYPES}
    total = sum(count.total() for count in answers.values())
    table["all"] = _row(right.total(), total, sum(max(count.values(), default=0) for count in answers.values()))
    return table


def _row(right: int, questions: int, commonest: int) -> dict[str, float]:
    share, spread = right / questions, 1.96**2 / questions
    centre = (share + spread / 2) / (1 + spread)
    half = 1.96 * math.sqrt(share * (1 - share) / questions + spread / 4 / questions) / (1 + spread)
    return {"right": share, "low": centre - half, "high": centre + half, "chance": commonest / questions, "questions": questions}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Accuracy of the bundled model on held-out clips, by question type.")
    parser.add_argument("--model", default="bundled", help="a checkpoint folder (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=400, help="held-out clips, ten questions each (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=8, help="frames a clip (default: %(default)s)")
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    checkpoint = load_checkpoint(options.model, device="cpu")
    table = evaluate(checkpoint.model, checkpoint.tokenizer, options.clips, options.frames, options.split)
    if options.json:
        print(json.dumps(table))
        return
    print("type       right   95 % interval   chance  questions")
    for name, row in table.items():
        print(f"{name:10} {row['right']:.3f}   {row['low']:.3f}-{row['high']:.3f}     {row['chance']:.3f}   {row['questions']:6.0f}")


if __name__ == "__main__":
    main()
