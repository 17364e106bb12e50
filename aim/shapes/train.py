"""Train the bundled model from scratch: `python -m aim.shapes.train --out assets/shapes-vlm`.

Stage 0 (`vision_stage`) teaches the vision tower, stage 1 (`answer_stage`) the language model. Merging and pruning are never on.
A run is seeded and its data is a function of the step, so that it resumes from `state.pt` in the work folder. It uses a GPU where there
is one. On a CPU it runs two processes of one thread each, which beat one process of two threads. `--smoke` runs some steps of both stages
and fails if a loss does not fall.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn

from aim.shapes.answer_stage import AnswerStage
from aim.shapes.model import build_model, build_tokenizer, save
from aim.shapes.vision_stage import VisionStage

SEED = 2412_03248
STAGES = (VisionStage, AnswerStage)
SMOKE_STEPS = (20, 12)
COOL_DOWN = 500  # steps


def main(arguments: list[str] | None = None) -> None:
    """Train as the flags say, and write the checkpoint.

    Raises:
        SystemExit: with `--smoke`, a loss did not fall.
    """
    parser = argparse.ArgumentParser(description="Train the bundled shapes model from scratch.")
    parser.add_argument("--out", type=Path, default=Path("assets/shapes-vlm"), help="checkpoint folder to write")
    parser.add_argument("--work", type=Path, default=Path(".training"), help="folder for state and log; an unfinished run resumes there")
    parser.add_argument("--vision-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="bfloat16 products (default: where a trial shows them to be faster, as on a GPU or a CPU with AMX)",
    )
    parser.add_argument("--processes", type=int, default=None, help="default: one on a GPU, else one a core, two at most")
    parser.add_argument("--smoke", action="store_true", help="a few small steps of both stages in one process, nothing written to --out")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.bfloat16 is None:
        options.bfloat16 = bfloat16_is_faster()
    if options.smoke:
        options.vision_steps, options.steps, options.processes = *SMOKE_STEPS, 1
    processes = options.processes or (1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1))
    if processes == 1:
        losses = Trainer(options, rank=0, world=1).run()
        if options.smoke:
            _check_that_losses_fell(losses)
    else:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ.get("MASTER_PORT", "29641"))
        multiprocessing.spawn(_worker, (options, processes), nprocs=processes)


def _worker(rank: int, options: argparse.Namespace, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    Trainer(options, rank, world).run()
    dist.destroy_process_group()


def rate_at(step: int, steps: int, warm_up: int, planned_steps: int) -> float:
    """Share of the learning rate at a step: warm-up, a cosine over the planned steps, and in a run that ends earlier a cool-down."""
    rate = min(1, (step + 1) / warm_up) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, step / planned_steps))))
    return rate * min(1, (steps - step) / min(COOL_DOWN, steps // 5 + 1)) if steps < planned_steps else rate


def bfloat16_is_faster() -> bool:
    """Whether a bfloat16 product beats a float32 one here; without the instructions it is many times slower."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.ones(shape, device=device, dtype=dtype) for shape in ((2048, 256), (256, 256)))
        (left @ right).sum().item()
        start = time.perf_counter()
        for _ in range(5):
            (left @ right).sum().item()
        seconds[dtype] = time.perf_counter() - start
    return seconds[torch.bfloat16] < seconds[torch.float32]


class Trainer:
    """All stages, on one of `world` processes that each take their share of every batch."""

    def __init__(self, options: argparse.Namespace, rank: int, world: int):
        self.options, self.rank, self.world = options, rank, world
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(SEED)
        self.model = build_model().to(self.device)  # type: ignore[arg-type]  # transformers' decorator hides the signature of `to`
        self.tokenizer = build_tokenizer()
        self.accuracy: dict[str, float] = {}
        self.started = time.monotonic()

    def run(self) -> list[list[float]]:
        """Train to the end, write the checkpoint, return each stage's losses (those of this run)."""
        state_file = self.options.work / "state.pt"
        resume = state_file.exists() and not self.options.smoke
        state = torch.load(state_file, map_location=self.device, weights_only=True) if resume else {"stage": 0, "step": 0}
        losses = []
        for number, steps in enumerate((self.options.vision_steps, self.options.steps)):
            if number >= state["stage"]:
                losses.append(self._stage(number, steps, state if number == state["stage"] else {"step": 0}))
        if self.rank == 0 and not self.options.smoke:
            save(self.model.cpu(), self.options.out)
            shutil.copy(self.options.work / "log.jsonl", self.options.out / "training.jsonl")
        return losses

    def _stage(self, number: int, steps: int, state: dict) -> list[float]:
        self.accuracy.clear()
        stage = STAGES[number](self.model, self.tokenizer.get_vocab(), SEED, self._note, self._share)
        groups = stage.parameter_groups()
        parameters = [p for group in groups for p in group["params"]]
        optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98))
        if state.get("model"):
            self.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            stage.head.load_state_dict(state["head"])
        saved, losses = time.monotonic(), []
        for step in range(state["step"], steps):
            rate = stage.learning_rate * rate_at(step, steps, stage.warm_up, stage.planned_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16):
                loss = stage.loss(step, min(step / stage.planned_steps, 1 - 1e-9))
            optimizer.zero_grad()
            loss.backward()
            self._average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
            if self.rank == 0 and (step % 25 == 0 or step == steps - 1):
                self._log(number, step, losses[-1], rate)
            if self.rank == 0 and time.monotonic() - saved > 120:
                self._save_state(number, step + 1, optimizer, stage)
                saved = time.monotonic()
        if state["step"] < steps:
            stage.finish()
        if self.rank == 0:
            self._save_state(number, steps, optimizer, stage)
        return losses

    def _share(self, step: int, count: int, reserve: int | None = None) -> range:
        """This process's part of the scene numbers of a step; each step has `reserve` of its own, so that none comes twice."""
        first = step * (reserve or count)
        count = max(2, count // 4) if self.options.smoke else count
        return range(first + self.rank, first + count, self.world)

    def _note(self, name: str, accuracy: float) -> None:
        self.accuracy[name] = 0.97 * self.accuracy.get(name, accuracy) + 0.03 * accuracy

    def _average_gradients(self, parameters: list[nn.Parameter]) -> None:
        if self.world == 1:
            return
        parameters = [p for p in parameters if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in parameters])
        dist.all_reduce(flat)
        for parameter, grad in zip(parameters, (flat / self.world).split([p.numel() for p in parameters]), strict=True):
            parameter.grad = grad.view_as(parameter)

    def _log(self, stage: int, step: int, loss: float, rate: float) -> None:
        seconds = round(time.monotonic() - self.started)
        accuracy = {name: round(value, 3) for name, value in self.accuracy.items()}
        line = json.dumps({"stage": stage, "step": step, "seconds": seconds, "loss": round(loss, 4), "rate": round(rate, 6), **accuracy})
        print(line, flush=True)
        with open(self.options.work / "log.jsonl", "a") as log:
            log.write(line + "\n")

    def _save_state(self, stage: int, step: int, optimizer: torch.optim.Optimizer, running) -> None:
        state = {"stage": stage, "step": step, "model": self.model.state_dict(), "optimizer": optimizer.state_dict()}
        state["head"] = running.head.state_dict()
        temporary = self.options.work / "state.new"
        torch.save(state, temporary)
        temporary.replace(self.options.work / "state.pt")


def _check_that_losses_fell(losses: list[list[float]]) -> None:
    for number, values in enumerate(losses):
        first, last = sum(values[:3]) / 3, sum(values[-3:]) / 3
        print(f"stage {number}: loss {first:.3f} → {last:.3f}")
        if not last < first:
            raise SystemExit(f"The loss of stage {number} did not fall.")


if __name__ == "__main__":
    main()
