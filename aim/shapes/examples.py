"""Write the example clips: `python -m aim.shapes.examples --out assets/examples`.

Scenes of the "validation" split are drawn larger than in training and encoded as H.264. For each kind of question scenes are tried in turn
until the bundled model gives the right answer from the finished file, both in full and reduced as the app reduces it by default. The
examples thus show the model where it is right; aim/evaluation/README.md tells its accuracy. Encoding needs PyAV (`av`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from aim.methods import AIM, Full
from aim.runtime.vlm import VLM, load
from aim.shapes.drawing import render
from aim.shapes.questions import NUMBERS, Question
from aim.shapes.scenes import Scene, frame_times
from aim.shapes.world import make_scene
from aim.video.clip import Clip, clip_from_frames, read_video

SIZE, SECONDS, RATE = 336, 4, 24


def main(arguments: list[str] | None = None) -> None:
    """Write the clips and `examples.json` as the flags say."""
    parser = argparse.ArgumentParser(description="Write the example clips and their questions.")
    parser.add_argument("--out", type=Path, default=Path("assets/examples"))
    parser.add_argument("--model", default="bundled")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    vlm, listed, index = load(options.model), [], 0
    for name, (question_about, frames) in EXAMPLES.items():
        while True:
            scene = make_scene("validation", index)
            index += 1
            question = question_about(scene)
            if question is None:
                continue
            drawn = clip_from_frames(render(scene, frame_times(frames), SIZE)[0], frames / SECONDS)
            if not _is_answered(vlm, drawn, question):  # before the slower way through a file
                continue
            path = options.out / f"{name}.mp4"
            write_clip(scene, path)
            if _is_answered(vlm, read_video(path, frames), question):
                listed.append({"file": path.name, "question": question.text, "answer": question.answer, "frames": frames})
                print(f"{path.name}: scene {index - 1}, {question.text} {question.answer}")
                break
    (options.out / "examples.json").write_text(json.dumps(listed, indent=2) + "\n")


def write_clip(scene: Scene, path: Path) -> None:
    """Encode a scene as an H.264 MP4 of `SIZE` pixels, `SECONDS` long, at `RATE` frames a second."""
    import av

    frames, _ = render(scene, frame_times(SECONDS * RATE), SIZE, supersample=2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "slow"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, RATE)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def _is_answered(vlm: VLM, clip: Clip, question: Question) -> bool:
    return all(vlm.ask(clip, question.text, method, max_new_tokens=4).text == question.answer for method in (AIM(), Full()))


def _colour(scene: Scene) -> Question | None:
    if len(scene.items) < 3 or any(item.becomes for item in scene.items):
        return None
    item = scene.items[0]
    return Question("colour", f"What color is the {item.shape}?", item.colour) if item.moment == "always" else None


def _count(scene: Scene) -> Question | None:
    if len(scene.items) != 4 or any(item.moment == "needle" for item in scene.items):
        return None
    return Question("count", "How many shapes are there?", NUMBERS[3])


def _direction(scene: Scene) -> Question | None:
    moving = [item for item in scene.items if item.direction != "nowhere" and item.moment == "always" and not item.bounces]
    if len(scene.items) < 3 or len({item.direction for item in moving}) < 2:
        return None
    return Question("direction", f"Which way does the {moving[0].shape} move?", moving[0].direction)


def _when(scene: Scene) -> Question | None:
    brief = [item for item in scene.items if item.moment == "end"]
    return Question("when", f"When does the {brief[0].shape} appear?", "end") if brief else None


def _order(scene: Scene) -> Question | None:
    late = [item for item in scene.items if item.moment == "late"]
    steady = [item for item in scene.items if item.moment == "always"]
    if not late or not steady:
        return None
    return Question("order", f"Which appears first, the {late[0].shape} or the {steady[0].shape}?", steady[0].shape)


def _change(scene: Scene) -> Question | None:
    changing = [(item.shape, item.becomes) for item in scene.items if item.becomes]
    if not changing or len(scene.items) < 2:
        return None
    shape, becomes = changing[0]
    return Question("change", f"What color does the {shape} become?", becomes)


def _largest(scene: Scene) -> Question | None:
    if len(scene.items) != 3 or any(item.growth > 1 or item.moment == "needle" for item in scene.items):
        return None
    return Question("size", "Which shape is the largest?", max(scene.items, key=lambda item: item.radius).shape)


def _needle(scene: Scene) -> Question | None:
    flashes = [item for item in scene.items if item.moment == "needle"]
    # The flash is unseen at eight frames, so that the clip shows what more frames buy.
    if not flashes or any(flashes[0].is_visible(time) for time in frame_times(8)):
        return None
    return Question("needle", f"What color is the {flashes[0].shape} that flashes?", flashes[0].colour)


EXAMPLES: dict[str, tuple[Callable[[Scene], Question | None], int]] = {
    "colour": (_colour, 8),
    "count": (_count, 8),
    "direction": (_direction, 8),
    "change": (_change, 8),
    "order": (_order, 8),
    "when": (_when, 8),
    "largest": (_largest, 8),
    "needle": (_needle, 32),
}


if __name__ == "__main__":
    main()
