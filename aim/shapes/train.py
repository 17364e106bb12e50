"""Train the bundled model from scratch: `python -m aim.shapes.train --out assets/shapes-vlm`.

Stage 0 (`vision_stage`) teaches the vision tower, stage 1 (`answer_stage`) the language model. Stage 2 goes on with that at a rate that
rises anew, since stage 1 alone leaves shape, existence and order at 82 to 88 % right. Nothing is ever merged or dropped.
A run is seeded and its data is a function of the step, so that it resumes from the state in the work folder. It uses a GPU where there is
one. On a CPU it runs two processes of one thread each, which beat one process of two threads. `--smoke` runs some steps of every stage
and fails if a loss does not fall.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn

from aim.kernels.refusal import Refusal
from aim.shapes.answer_stage import AnswerStage, LaterAnswerStage
from aim.shapes.model import build_model, build_tokenizer
from aim.shapes.state import RunState, check_folders
from aim.shapes.tally import Tally
from aim.shapes.vision_stage import VisionStage

SEED = 2412_03248
STAGES: tuple[type[VisionStage] | type[AnswerStage], ...] = (VisionStage, AnswerStage, LaterAnswerStage)
SMOKE_STEPS = (20, 12, 12)
SAVE_EVERY = 120  # seconds


def main(arguments: list[str] | None = None) -> None:
    """Train as the flags say, and write the checkpoint.

    Raises:
        SystemExit: with code 2 for what the user can mend, and with `--smoke` where a loss did not fall.
    """
    parser = argparse.ArgumentParser(description="Train the bundled shapes model from scratch.")
    parser.add_argument("--out", type=Path, default=Path("assets/shapes-vlm"), help="checkpoint folder to write")
    parser.add_argument("--work", type=Path, default=Path(".training"), help="folder for state and log; an unfinished run resumes there")
    parser.add_argument("--vision-steps", type=int, default=1600)
    parser.add_argument("--steps", type=int, default=4800)
    parser.add_argument("--later-steps", type=int, default=3000)
    parser.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="bfloat16 products (default: where a trial shows them to be faster, as on a GPU or a CPU with AMX)",
    )
    parser.add_argument("--processes", type=int, default=None, help="default: one on a GPU, else one a core, two at most")
    parser.add_argument("--smoke", action="store_true", help="a few small steps of every stage in one process, nothing written")
    options = parser.parse_args(arguments)
    if options.bfloat16 is None:
        options.bfloat16 = bfloat16_is_faster()
    if options.smoke:
        options.vision_steps, options.steps, options.later_steps, options.processes = *SMOKE_STEPS, 1
    options.processes = options.processes or (1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1))
    try:
        if not options.smoke:
            check_folders({"--work": options.work, "--out": options.out})
        _train(options)
    except Refusal as error:
        _refuse(error)


def _train(options: argparse.Namespace) -> None:
    if options.processes > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ.get("MASTER_PORT", "29641"))
        try:
            multiprocessing.spawn(_worker, (options,), nprocs=options.processes)
        except multiprocessing.ProcessExitedException as error:
            raise SystemExit(error.exit_code) from None
        return
    losses = Trainer(options, rank=0).run()
    if options.smoke:
        _check_that_losses_fell(losses)


def _worker(rank: int, options: argparse.Namespace) -> None:
    # When the parent ends, torch sends this to its workers. Those of a command that a shell started in the background would ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=options.processes)
    try:
        Trainer(options, rank).run()
    except Refusal as error:
        if rank == 0:
            _refuse(error)
        raise SystemExit(2) from None
    dist.destroy_process_group()


def _refuse(error: Refusal) -> None:
    print(f"aim.shapes.train: {error}", file=sys.stderr, flush=True)
    raise SystemExit(2) from None


def rate_at(step: int, steps: int, warm_up: int) -> float:
    """Share of the learning rate at a step: a short rise, then half a cosine that falls to nothing."""
    return min(1, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


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
    """All stages, on one of several processes that each take their share of every batch."""

    def __init__(self, options: argparse.Namespace, rank: int):
        self.options, self.rank, self.world = options, rank, options.processes
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(SEED)
        self.finished: AnswerStage | VisionStage | None = None  # the last stage that this process ended
        self.model = build_model().to(self.device)  # type: ignore[arg-type]  # transformers' decorator hides the signature of `to`
        self.tokenizer = build_tokenizer()
        self.steps = (options.vision_steps, options.steps, options.later_steps)
        plan = dict(zip(("--vision-steps", "--steps", "--later-steps"), self.steps, strict=True)) | {"--processes": self.world}
        self.run_state = RunState(options.work, plan, kept=not options.smoke)

    def run(self) -> list[list[float]]:
        """Train to the end, write the checkpoint, return each stage's losses (those of this run).

        Raises:
            Refusal: a stored state of another run, a folder that another run works in, or a disk that cannot be written to.
        """
        if self.rank == 0:
            self.run_state.claim()
        try:
            return self._stages()
        finally:
            self.run_state.release()

    def _stages(self) -> list[list[float]]:
        state, losses = self.run_state.load(self.model), []
        self.started = time.monotonic() - self.run_state.seconds
        for number in range(len(STAGES)):
            if number >= state["stage"]:
                losses.append(self._stage(number, state if number == state["stage"] else {"step": 0, "means": {}}))
        if self.rank == 0 and not self.options.smoke:
            self.run_state.write_checkpoint(self.model.cpu(), self.options.out)
        return losses

    def _stage(self, number: int, state: dict) -> list[float]:
        steps, kind = self.steps[number], STAGES[number]
        tally = Tally(kind.names, self.finished.tally.means if kind.follows and not state["step"] else state["means"])
        stage = kind(self.model, self.tokenizer.get_vocab(), SEED, tally, self._share)
        groups = stage.parameter_groups()
        parameters = [p for group in groups for p in group["params"]]
        if kind.follows and not state["step"]:
            stage.head.load_state_dict(self.finished.head.state_dict())
        optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98))
        if "model" in state:
            self.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            stage.head.load_state_dict(state["head"])
        saved, losses = time.monotonic(), []
        for step in range(state["step"], steps):
            rate = stage.learning_rate * rate_at(step, steps, stage.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16):
                loss = stage.loss(step, step / steps)
            optimizer.zero_grad()
            loss.backward()
            self._average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            tally.settle()
            losses.append(loss.item())
            if step % 25 == 0 or step == steps - 1:
                self._log(number, step, losses[-1], rate, tally)
            if time.monotonic() - saved > SAVE_EVERY and step < steps - 1:
                self._save(number, step + 1, optimizer, stage)
                saved = time.monotonic()
        if state["step"] < steps:
            stage.finish()
            self._save(number, steps, optimizer, stage)
        self.finished = stage
        return losses

    def _share(self, step: int, count: int, reserve: int | None = None) -> range:
        """This process's part of the scene numbers of a step; each step has `reserve` of its own, so that none comes twice."""
        first = step * (reserve or count)
        count = max(2, count // 4) if self.options.smoke else count
        return range(first + self.rank, first + count, self.world)

    def _average_gradients(self, parameters: list[nn.Parameter]) -> None:
        if self.world == 1:
            return
        parameters = [p for p in parameters if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in parameters])
        dist.all_reduce(flat)
        for parameter, grad in zip(parameters, (flat / self.world).split([p.numel() for p in parameters]), strict=True):
            parameter.grad = grad.view_as(parameter)

    def _log(self, stage: int, step: int, loss: float, rate: float, tally: Tally) -> None:
        if self.rank == 0:
            means = {name: round(tally.means[name], 3) for name in tally.names if name in tally.means}
            seconds = round(time.monotonic() - self.started)
            self.run_state.log({"stage": stage, "step": step, "seconds": seconds, "loss": round(loss, 4), "rate": round(rate, 6), **means})

    def _save(self, stage: int, step: int, optimizer: torch.optim.Optimizer, running) -> None:
        if self.rank == 0:
            self.run_state.seconds = time.monotonic() - self.started
            parts = {"model": self.model, "optimizer": optimizer, "head": running.head}
            self.run_state.save(stage=stage, step=step, means=running.tally.means, **{name: p.state_dict() for name, p in parts.items()})


def _check_that_losses_fell(losses: list[list[float]]) -> None:
    """A stage that goes on has little left to learn in a few steps, so its loss is compared with the beginning of the stage before."""
    for number, (kind, values) in enumerate(zip(STAGES, losses, strict=True)):
        beginning = losses[number - 1] if kind.follows else values
        first, last = sum(beginning[:3]) / 3, sum(values[-3:]) / 3
        print(f"stage {number}: loss {first:.3f} → {last:.3f}")
        if not last < first:
            raise SystemExit(f"The loss of stage {number} did not fall.")


if __name__ == "__main__":
    main()
