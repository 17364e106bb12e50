"""Train the bundled model from scratch: `python -m aim.shapes.train --out assets/shapes-vlm`.

Stage 0 teaches the vision tower on single frames: every pooled token must lie near the embeddings of the words for the colour and the
shape it shows. Stage 1 freezes the tower and teaches the language model to answer, ten questions a clip, for its first 40 % in one plain
wording each, since finding the thing that is asked about is learned late. Merging and pruning are never on during training. In its
second half, half of the clips get their visual positions closer together by a random factor: this
alone, no token removed, keeps the compact positions of a merged clip from being foreign to the model.

Seeded, resumable (`state.pt` in the work folder), data a function of the step. With a GPU it uses it; on CPU two single-thread
processes beat one with two threads.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn
from torch.nn.functional import cross_entropy

from aim.shapes.model import GRID, IMAGE_SIZE, TOKENS_PER_FRAME, build_model, build_tokenizer, save
from aim.shapes.packing import NO_LABEL, camera, pack, packed_logits, to_pixels, use_packed_attention, visual_embeddings
from aim.shapes.questions import TYPES, ask_about, choose
from aim.shapes.scenes import COLOURS, SHAPES, frame_times, make_scene, render

QUESTIONS_PER_CLIP = 10
FRAMES_PER_STEP = 96
CLIPS_PER_STEP = {2: 40, 4: 24, 8: 14, 16: 6}
SEED = 2412_03248


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the bundled shapes model from scratch.")
    parser.add_argument("--out", type=Path, default=Path("assets/shapes-vlm"), help="checkpoint folder to write")
    parser.add_argument("--work", type=Path, default=Path(".training"), help="folder for state and log; an unfinished run resumes there")
    parser.add_argument("--vision-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=2650)
    parser.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        default=torch.cuda.is_available(),
        help="bfloat16 products; on a CPU without bf16 instructions they are 30 times slower than float32, with them 4 times faster",
    )
    parser.add_argument("--processes", type=int, default=None, help="default: one on a GPU, else one a core, two at most")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    processes = options.processes or (1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1))
    if processes == 1:
        Trainer(options, rank=0, world=1).run()
    else:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ.get("MASTER_PORT", "29641"))
        multiprocessing.spawn(_worker, (options, processes), nprocs=processes)


def _worker(rank: int, options: argparse.Namespace, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    Trainer(options, rank, world).run()
    dist.destroy_process_group()


class Trainer:
    """Both stages, on one of `world` processes that each take their share of every batch."""

    def __init__(self, options: argparse.Namespace, rank: int, world: int):
        self.options, self.rank, self.world = options, rank, world
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(SEED)
        self.model = build_model().to(self.device)
        self.tokenizer = build_tokenizer()
        self.token = self.tokenizer.get_vocab()
        self.accuracy: dict[str, float] = {}
        self.started = time.monotonic()

    def run(self) -> None:
        state_file = self.options.work / "state.pt"
        state = torch.load(state_file, map_location=self.device, weights_only=True) if state_file.exists() else {"stage": 0, "step": 0}
        if state["stage"] == 0:
            self._stage(0, self.options.vision_steps, state)
            with torch.no_grad():  # word embeddings have a norm near 0.6, the aligned visual tokens one near 14
                last = self.model.model.multi_modal_projector.linear_2
                last.weight.mul_(0.1)
                last.bias.mul_(0.1)
            state = {"stage": 1, "step": 0}
        use_packed_attention(self.model)
        self._stage(1, self.options.steps, state)
        if self.rank == 0:
            save(self.model.cpu(), self.options.out)

    def _stage(self, stage: int, steps: int, state: dict) -> None:
        core = self.model.model
        if stage == 0:
            self.head = nn.Linear(128, 7).to(self.device)  # size class, centre, cell: thrown away afterwards
            trained = (core.vision_tower, core.multi_modal_projector, core.language_model.embed_tokens, self.head)
            parameters = [parameter for module in trained for parameter in module.parameters()]
            optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.02, betas=(0.9, 0.98))
            peak, warm_up, loss_of = 2e-3, 60, self._vision_loss
        else:
            core.vision_tower.requires_grad_(False)
            named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
            matrices = [p for n, p in named if p.dim() >= 2 and "embed" not in n]
            others = [p for n, p in named if p.dim() < 2 or "embed" in n]
            parameters = [*matrices, *others]
            groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
            optimizer = torch.optim.AdamW(groups, lr=1.5e-3, betas=(0.9, 0.98))
            peak, warm_up, loss_of = 1.5e-3, 100, self._answer_loss
        if state.get("model"):
            self.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            if stage == 0:
                self.head.load_state_dict(state["head"])
        saved = time.monotonic()
        for step in range(state["step"], steps):
            rate = peak * min(1, (step + 1) / warm_up) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of(step, step / steps)
            optimizer.zero_grad()
            loss.backward()
            self._average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if self.rank == 0 and (step % 25 == 0 or step == steps - 1):
                self._log(stage, step, loss.item(), rate)
            if self.rank == 0 and time.monotonic() - saved > 180:
                self._save_state(stage, step + 1, optimizer)
                saved = time.monotonic()
        if self.rank == 0:
            self._save_state(stage, steps, optimizer)

    def _vision_loss(self, step: int, _progress: float) -> torch.Tensor:
        frames, colours, shapes, sizes, places = [], [], [], [], []
        for index in self._share(step, FRAMES_PER_STEP):
            rng = np.random.default_rng([SEED, 0, index])
            scene = make_scene("pretrain", index, brief_items=False)
            moment = rng.random()
            frames.append(camera(scene, [moment], IMAGE_SIZE, rng)[0])
            owner = _owner_of_tokens(render(scene, [moment], IMAGE_SIZE)[1][0])
            items = [scene.items[o] if o >= 0 else None for o in owner]
            colours.append([self._word(item.colour if item else "nothing") for item in items])
            shapes.append([self._word(item.shape if item else "nothing") for item in items])
            sizes.append([item.size if item else NO_LABEL for item in items])
            places.append([item.centre(moment) if item else (0.5, 0.5) for item in items])
        colours, shapes, sizes = (torch.tensor(v, device=self.device) for v in (colours, shapes, sizes))
        places = torch.tensor(places, device=self.device, dtype=torch.float32)
        pixels = to_pixels(np.stack(frames)[:, None]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16):
            tokens = visual_embeddings(self.model, pixels)[:, :-1]
        words = self.model.model.language_model.embed_tokens.weight
        known = {"colour": [*COLOURS, "nothing"], "shape": [*SHAPES, "nothing"]}
        loss = torch.zeros((), device=self.device)
        shown = sizes != NO_LABEL
        for name, truth in (("colour", colours), ("shape", shapes)):
            rows = torch.tensor([self._word(w) for w in known[name]], device=self.device)
            logits = tokens @ words[rows].T
            target = (truth[..., None] == rows).int().argmax(-1)
            loss = loss + cross_entropy(logits.flatten(0, 1), target.flatten())
            self._note(name, (logits.argmax(-1) == target)[shown].float().mean().item())
        guess = self.head(tokens)
        cells = torch.stack(torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij"), -1).view(-1, 2)
        cells = (cells.to(self.device) / GRID - 0.5) * 4
        loss = loss + 0.5 * cross_entropy(guess[..., :3].flatten(0, 1), sizes.flatten(), ignore_index=NO_LABEL)
        loss = loss + 0.5 * ((guess[..., 3:5] - (places - 0.5) * 4)[shown] ** 2).mean()
        return loss + 0.2 * ((guess[..., 5:] - cells) ** 2).mean()

    def _answer_loss(self, step: int, progress: float) -> torch.Tensor:
        frames_per_clip = _curriculum(progress, np.random.default_rng([SEED, 1, step]).random())
        clips, questions, strides = [], [], []
        for index in self._share(step, CLIPS_PER_STEP[frames_per_clip], reserve=max(CLIPS_PER_STEP.values())):
            rng = np.random.default_rng([SEED, 2, index])
            brief = frames_per_clip >= 4
            scene = make_scene("train", index, brief_items=brief)
            asked = [q for q in ask_about(scene, rng, plain=progress < 0.4) if brief or q.type != "when"]
            clips.append(camera(scene, frame_times(frames_per_clip), IMAGE_SIZE, rng))
            questions.append(choose(asked, QUESTIONS_PER_CLIP, rng))
            strides.append(rng.uniform(0.1, 1.0) if progress > 0.5 and rng.random() < 0.5 else 1.0)
        batch = pack(questions, TOKENS_PER_FRAME * frames_per_clip + 1, self.tokenizer, strides).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bfloat16):
            visual = visual_embeddings(self.model, to_pixels(np.stack(clips)).to(self.device))
            logits = packed_logits(self.model, batch, visual).float()
        truth = batch.labels[batch.labels != NO_LABEL]
        weight = torch.where(truth == self.token["<|im_end|>"], 0.05, 1.0)
        right, types = logits.argmax(-1) == truth, batch.types[batch.labels != NO_LABEL]
        for number, name in enumerate(TYPES):
            if (types == number).any():
                self._note(name, right[types == number].float().mean().item())
        return (cross_entropy(logits, truth, reduction="none") * weight).sum() / weight.sum()

    def _share(self, step: int, count: int, reserve: int | None = None) -> range:
        first = step * (reserve or count)
        return range(first + self.rank, first + count, self.world)

    def _word(self, word: str) -> int:
        return self.token[word]

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

    def _save_state(self, stage: int, step: int, optimizer: torch.optim.Optimizer) -> None:
        state = {"stage": stage, "step": step, "model": self.model.state_dict(), "optimizer": optimizer.state_dict()}
        if stage == 0:
            state["head"] = self.head.state_dict()
        temporary = self.options.work / "state.new"
        torch.save(state, temporary)
        temporary.replace(self.options.work / "state.pt")


def _owner_of_tokens(mask: np.ndarray) -> np.ndarray:
    """Which item fills each pooled token most, -1 where none fills 12 % of it. mask [size, size] → [T]."""
    cell = IMAGE_SIZE // GRID
    cells = mask.reshape(GRID, cell, GRID, cell).transpose(0, 2, 1, 3).reshape(TOKENS_PER_FRAME, -1)
    share = np.stack([(cells == number + 1).mean(-1) for number in range(3)], -1)
    return np.where(share.max(-1) > 0.12, share.argmax(-1), -1)


def _curriculum(progress: float, luck: float) -> int:
    """Frames a clip at this point of stage 1: few at first, mostly eight later, some of four and sixteen."""
    if progress < 0.35:
        return 2 if luck < 0.7 else 4
    if progress < 0.5:
        return 2 if luck < 0.1 else 4 if luck < 0.6 else 8
    return 4 if luck < 0.15 else 8 if luck < 0.85 else 16


if __name__ == "__main__":
    main()
