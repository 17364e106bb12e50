"""What a training run keeps on disk: its state, from which it goes on after a stop, its log, and the checkpoint that it writes in the end.

Nothing is overwritten before its successor is whole. What the user can mend (a full disk, a folder without write access, a state of
another run) is a `Refusal`.
"""

from __future__ import annotations

import fcntl
import io
import json
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import IO

import torch
from safetensors import SafetensorError
from transformers import LlavaOnevisionForConditionalGeneration

from aim.kernels.refusal import Refusal
from aim.shapes.model import save

STATE, LOG = "state.pt", "log.jsonl"


def check_folders(folders: dict[str, Path]) -> None:
    """Make these folders, and see that files can be written there. Keys are the flags that named them.

    Raises:
        Refusal: a folder that cannot be made or written to.
    """
    for flag, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder):
                pass
        except OSError as error:
            raise Refusal(
                f"The folder that {flag} names cannot be written to ({error.strerror}); a folder with write access and free space is "
                f"needed, so give another one."
            ) from None


class RunState:
    """A run's state and log in a work folder.

    Args:
        folder: where the state and the log lie.
        plan: what must be the same when a run goes on: its steps and its number of processes.
        kept: False keeps nothing on disk.
    """

    def __init__(self, folder: Path, plan: dict[str, int], kept: bool = True):
        self.folder, self.plan, self.kept = folder, plan, kept
        self.lines: list[str] = []
        self.seconds = 0.0
        self._lock: IO | None = None

    def claim(self) -> None:
        """Keep other runs out of the folder, until `release` or the end of this process.

        Raises:
            Refusal: another run works in the folder.
        """
        if not self.kept:
            return
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal("Another run works in the --work folder; wait until it has ended, or give another folder.") from None

    def release(self) -> None:
        """Let other runs into the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load(self, model: torch.nn.Module) -> dict:
        """The stored state, or that of a run that has not begun. The log is cut back to where the state was stored.

        Raises:
            Refusal: a state that cannot be read, or that belongs to a model of another shape or to a run with other steps.
        """
        file = self.folder / STATE
        if not self.kept or not file.exists():
            return {"stage": 0, "step": 0, "means": {}}
        advice = "so that this run cannot go on from it; give another --work folder to start anew, or the flags and code of that run"
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            shapes, plan = {name: tensor.shape for name, tensor in state["model"].items()}, state["plan"]
            self.lines, self.seconds = list(state["log"]), state["seconds"]
        except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError, AttributeError, TypeError):
            raise Refusal(f"The training state in the --work folder is not one that this command wrote, {advice}.") from None
        if shapes != {name: tensor.shape for name, tensor in model.state_dict().items()}:
            raise Refusal(f"The training state in the --work folder is of a model of another shape, {advice}.")
        if plan != self.plan:
            given, stored = (", ".join(f"{name} {value}" for name, value in values.items()) for values in (self.plan, plan))
            raise Refusal(f"The training state in the --work folder is of a run with {stored}, and this one has {given}, {advice}.")
        return state

    def save(self, **state) -> None:
        """Store the state of a step, in place of the one before.

        Raises:
            Refusal: the disk is full, or may not be written to. The state before is still there.
        """
        if not self.kept:
            return
        content = io.BytesIO()
        torch.save({**state, "plan": self.plan, "log": self.lines, "seconds": self.seconds}, content)
        new = self.folder / "state.new"
        try:
            new.write_bytes(content.getbuffer())
            new.replace(self.folder / STATE)
            (self.folder / LOG).write_text("".join(self.lines))
        except OSError as error:
            new.unlink(missing_ok=True)
            raise Refusal(
                f"The training state cannot be stored in the --work folder ({error.strerror}); make room there and start the same command "
                f"again, and the run goes on from the state before."
            ) from None

    def log(self, entry: dict) -> None:
        """Print a line of the log and keep it. It reaches the disk with the next state."""
        line = json.dumps(entry)
        print(line, flush=True)
        self.lines.append(line + "\n")

    def write_checkpoint(self, model: LlavaOnevisionForConditionalGeneration, out: Path) -> None:
        """Write the trained model and the log to `out`, file by file in place of those that are there, once all are whole.

        Raises:
            Refusal: the disk is full, or may not be written to. What was in `out` is as it was.
        """
        try:
            out.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=out) as folder:
                save(model, folder)
                (Path(folder) / "training.jsonl").write_text("".join(self.lines))
                for file in sorted(Path(folder).iterdir()):
                    file.replace(out / file.name)
        except (OSError, SafetensorError):
            raise Refusal(
                "The checkpoint cannot be written to the --out folder; make room there, or give a folder with write access, and start the "
                "same command again. The training itself is done and is not repeated."
            ) from None
