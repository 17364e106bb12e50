"""Write the example clips: `python -m aim.shapes.examples --out assets/examples`.

Scenes of the "validation" split are drawn larger than in training and encoded as H.264. For each of the `STORIES`, scenes are tried in turn
until the bundled model answers as the story says, from the finished file: right under the settings that must be right, and wrong under
those that must be wrong. The examples thus show what a setting does where the model itself is right; aim/evaluation/README.md tells its
accuracy. `--check` asks the examples that are there again. Encoding needs PyAV (`av`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from aim.kernels.refusal import Refusal
from aim.methods import AIM
from aim.runtime.vlm import VLM, load
from aim.shapes.drawing import render
from aim.shapes.scenes import Scene, frame_times
from aim.shapes.stories import STORIES, Story, knobs
from aim.shapes.world import make_scene
from aim.video.clip import Clip, clip_from_frames, read_video

SIZE, SECONDS, RATE = 336, 4, 24
MOST_SCENES = 3000


def main(arguments: list[str] | None = None) -> None:
    """Write the clips and `examples.json` as the flags say, or check those that are there.

    Raises:
        SystemExit: with code 2, no scene tells one of the stories; nothing was written. With code 1, `--check` found an example whose
            answers are not as its story says.
    """
    parser = argparse.ArgumentParser(description="Write the example clips and their questions.")
    parser.add_argument("--out", type=Path, default=Path("assets/examples"))
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--check", action="store_true", help="write nothing; ask the examples in --out again")
    options = parser.parse_args(arguments)
    vlm = load(options.model)
    if options.check:
        failed = [name for name, told in check(vlm, options.out).items() if not told]
        print(f"Not as told: {', '.join(failed)}." if failed else "All examples are as told.")
        raise SystemExit(1 if failed else 0)
    try:
        write_examples(vlm, options.out, STORIES)
    except Refusal as error:
        print(f"aim.shapes.examples: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def write_examples(vlm: VLM, out: Path, stories: dict[str, Story]) -> None:
    """Choose a scene for each story, and write the clips and `examples.json` to a folder once there is one for all.

    Raises:
        Refusal: for a story, none of the first `MOST_SCENES` scenes from where the story before ended has the answers it needs.
    """
    listed: list[dict[str, Any]] = []
    index = 0
    with TemporaryDirectory() as folder:
        for name, story in stories.items():
            path = Path(folder) / f"{name}.mp4"
            last = index + MOST_SCENES
            while not _is_told(vlm, story, index, path):
                index += 1
                if index == last:
                    raise Refusal(f"No scene of {MOST_SCENES:,} tells the story “{name}” with this model; change the story or the model.")
            question = story.ask(make_scene("validation", index))
            listed.append(
                {"file": path.name, "question": question.text, "answer": question.answer, "frames": story.frames, "shows": story.shows}
            )
            print(f"{path.name}: scene {index}, {question.text} {question.answer}")
            index += 1
        out.mkdir(parents=True, exist_ok=True)
        for entry in listed:
            shutil.copy(Path(folder) / entry["file"], out / entry["file"])
    (out / "examples.json").write_text(json.dumps(listed, indent=2) + "\n")


def check(vlm: VLM, folder: Path) -> dict[str, bool]:
    """Whether the answers to each example in a folder are as its story says, by name. A clip without a story counts as not told."""
    told = {}
    for entry in json.loads((folder / "examples.json").read_text()):
        name, path = Path(entry["file"]).stem, folder / entry["file"]
        story = STORIES.get(name)
        told[name] = story is not None and _holds(vlm, story, entry["question"], entry["answer"], partial(read_video, path))
    return told


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


def _is_told(vlm: VLM, story: Story, index: int, path: Path) -> bool:
    """Whether a scene tells the story. If so, its clip is in the file."""
    scene = make_scene("validation", index)
    question = story.ask(scene)
    if question is None:
        return False

    def drawn(frames: int) -> Clip:
        return clip_from_frames(render(scene, frame_times(frames), SIZE)[0], frames / SECONDS)

    if not _holds(vlm, story, question.text, question.answer, drawn):  # before the slower way through a file
        return False
    write_clip(scene, path)
    return _holds(vlm, story, question.text, question.answer, lambda frames: read_video(path, frames))


def _holds(vlm: VLM, story: Story, question: str, answer: str, clip_of: Callable[[int], Clip]) -> bool:
    """Whether the answer is right under all settings that must be right, and wrong under all that must be wrong."""
    clips: dict[int, Clip] = {}
    for settings, expected in ((story.right, True), (story.wrong, False)):
        for setting, frames in settings:
            if frames not in clips:
                clips[frames] = clip_of(frames)
            said = vlm.ask(clips[frames], question, AIM(**knobs(setting, vlm.num_layers)), max_new_tokens=4).text
            if (said == answer) != expected:
                return False
    return True


if __name__ == "__main__":
    main()
