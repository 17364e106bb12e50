"""Load a model, encode a clip once, ask about it many times."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from transformers import StoppingCriteriaList
from transformers.modeling_outputs import BaseModelOutputWithPooling

from aim.checkpoints import Checkpoint, load_checkpoint
from aim.generation import Generation, StopOn, TimedStreamer
from aim.memory import read_peak, reset_peak
from aim.methods import AIM, Method
from aim.planning import Plan, cost_of, plan_for
from aim.trace import Trace
from aim.video import Clip

MAX_QUESTION = 2000
MAX_FRAMES = 64
CLIPS_REMEMBERED = 4


@dataclass(frozen=True)
class Answer:
    """An answer, growing while it streams. `trace` is None until it is complete; `timings` has the stages that have ended.

    Attributes:
        text: what the model has said so far.
        method: the method with every knob filled in.
        trace: see `aim.Trace`.
        timings: seconds by stage: `decode_video`, `preprocess`, `vision_tower` (these three only when they ran), `merge`, `importance`,
            `inspection` (only where `scores="all"` was asked for), `llm_prefill`, `first_token` (from the start of generation), `decode`,
            `total` (of the question, without decoding the video).
        cost: modelled cost of the executed token counts, see `aim.planning.cost_of`.
        features_reused: the clip's vision features came from an earlier question.
        new_tokens: tokens generated, the end token included.
        note: what the reader should know before trusting the text, such as words of the question that the model does not know.
    """

    text: str = ""
    model: str = ""
    method: Method = field(default_factory=Method)
    trace: Trace | None = None
    timings: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    features_reused: bool = False
    new_tokens: int = 0
    note: str = ""

    def to_dict(self) -> dict:
        """Plain numbers and lists, the whole trace included."""
        trace = self.trace or Trace()
        return {
            "answer": self.text,
            "model": self.model,
            "method": self.method.name,
            "params": self.method.params(),
            "frames": trace.frames,
            "visual_tokens": trace.visual_tokens,
            "merged_tokens": trace.merged_tokens,
            "tokens_per_layer": [list(pair) for pair in trace.tokens_per_layer],
            "timings": self.timings,
            "cost": self.cost,
            "features_reused": self.features_reused,
            "new_tokens": self.new_tokens,
            "note": self.note,
            "trace": trace.to_dict(),
        }

    def to_json(self) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict())


def load(name: str = "bundled", device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> VLM:
    """A model ready to be asked; see `aim.checkpoints.load_checkpoint` for the arguments and errors."""
    return VLM(load_checkpoint(name, device, dtype))


class VLM:
    """A loaded model with the features of the last few clips. One run at a time: a second caller waits.

    Features are kept by the clip's content, so nobody can reach another's clip without having it.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.name, self.model = checkpoint.name, checkpoint.model
        self._features: OrderedDict[str, BaseModelOutputWithPooling] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def is_bundled(self) -> bool:
        return self.name == "bundled"

    @property
    def num_layers(self) -> int:
        return self.model.config.text_config.num_hidden_layers

    @property
    def tokens_per_frame(self) -> int:
        rows, columns = self.checkpoint.family.grid(self.model.config)
        return rows * columns

    @property
    def max_frames(self) -> int:
        """Frames whose unmerged tokens fit the trained context with room for a question, `MAX_FRAMES` at most."""
        room = self.model.config.text_config.max_position_embeddings - 512
        return max(1, min(MAX_FRAMES, room // self.tokens_per_frame))

    def plan(self, num_frames: int, text_tokens: int, method: Method) -> Plan:
        """What a run would cost, without running it; see `aim.plan`."""
        return plan_for(self.model.config, num_frames, text_tokens, method)

    def text_tokens(self, question: str) -> int:
        """Tokens of the prompt that are not patches: words, chat markers, separators."""
        return len(self.prompt_ids(question, 1)) - 1 + self.checkpoint.family.separators

    def ask(self, clip: Clip, question: str, method: Method | None = None, max_new_tokens: int = 64, **generation) -> Answer:
        """Answer a question about a clip.

        Args:
            clip: from `aim.read_video`.
            question: 1 to 2,000 characters.
            method: default `aim.AIM()`, the paper's setting scaled to this model.
            max_new_tokens: at least 1.
            **generation: passed to `generate`, for example `do_sample=True, temperature=0.7`. Greedy by default.

        Raises:
            ValueError: question or limits out of range, or a prompt longer than the model's context.
        """
        *_, answer = self.stream(clip, question, method, max_new_tokens, **generation)
        return answer

    def stream(
        self,
        clip: Clip,
        question: str,
        method: Method | None = None,
        max_new_tokens: int = 64,
        stop: threading.Event | None = None,
        scores: str = "pruning",
        **generation,
    ) -> Iterator[Answer]:
        """As `ask`, yielding the answer while it grows: first without text, when the clip is encoded, then with every token, the first of
        which comes when the prefill has ended. The last one is complete.

        Setting `stop` or closing the iterator ends the model within a token. `scores` is passed to `aim.reduce`.
        """
        method = (method or AIM()).for_depth(self.num_layers)
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; at least one token must be generated. Use 64, for example.")
        family, config = self.checkpoint.family, self.model.config
        frames = len(clip.frames)
        placeholders = frames * self.tokens_per_frame + family.separators
        ids = self.prompt_ids(question, placeholders)
        self._check_context(ids, frames, method)
        stop = stop or threading.Event()
        with self._lock:
            started = time.perf_counter()
            reset_peak(self.device)
            features, timings = self._encode(clip)
            answer = Answer(
                model=self.name,
                method=method,
                timings=timings,
                features_reused="vision_tower" not in timings,
                note=self._note_on(question),
            )
            yield answer
            streamer = TimedStreamer(self.checkpoint.tokenizer, skip_prompt=True, skip_special_tokens=True)
            inputs = torch.tensor([ids], device=self.device)
            arguments = {
                "input_ids": inputs,
                "attention_mask": torch.ones_like(inputs),
                "mm_encoder_outputs": {"video": features},
                "max_new_tokens": max_new_tokens,
                "streamer": streamer,
                "stopping_criteria": StoppingCriteriaList([StopOn(stop)]),
                "do_sample": False,
                **generation,
            }
            worker = Generation(self.model, method, scores, arguments, streamer)
            worker.start()
            try:
                for text in streamer:
                    answer = replace(answer, text=answer.text + text, timings=timings | worker.trace.timings)
                    yield answer
            finally:
                stop.set()
                worker.join()
            if worker.error is not None:
                raise worker.error
            trace = worker.trace
            trace.peak_memory_bytes = read_peak(self.device)
            timings = timings | trace.timings | streamer.timings() | {"total": time.perf_counter() - started}
            trace.timings = timings
            cost = cost_of(
                config, trace.tokens_per_layer, trace.frames, trace.visual_tokens, method, self.dtype.itemsize, new_tokens=streamer.tokens
            )
            yield replace(answer, text=answer.text.strip(), trace=trace, timings=timings, cost=cost, new_tokens=streamer.tokens)

    def unknown_words(self, question: str) -> list[str]:
        """Words of a question that the tokenizer has no token for, in order, each once. Tokenizers that spell out any word know all."""
        tokenizer = self.checkpoint.tokenizer
        if tokenizer.unk_token_id is None:
            return []
        words = dict.fromkeys(re.findall(r"\w+", question.lower()))
        return [word for word in words if tokenizer.unk_token_id in tokenizer(word, add_special_tokens=False)["input_ids"]]

    def _note_on(self, question: str) -> str:
        unknown = self.unknown_words(question)
        if not unknown:
            return ""
        return f"Outside this model's world: it does not know {', '.join(f'“{word}”' for word in unknown[:5])}."

    def _encode(self, clip: Clip) -> tuple[BaseModelOutputWithPooling, dict[str, float]]:
        """The clip's vision features, from memory if it was seen lately, and the seconds spent on them."""
        if clip.digest in self._features:
            self._features.move_to_end(clip.digest)
            return self._features[clip.digest], {}
        family, timings = self.checkpoint.family, {"decode_video": clip.decode_seconds}
        start = time.perf_counter()
        pixels = family.pixel_values(clip.frames, self.checkpoint.pictures)
        timings["preprocess"] = time.perf_counter() - start
        start = time.perf_counter()
        with torch.inference_mode():
            features = family.encode(self.model, pixels)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        timings["vision_tower"] = time.perf_counter() - start
        self._features[clip.digest] = features
        while len(self._features) > CLIPS_REMEMBERED:
            self._features.popitem(last=False)
        return features, timings

    def prompt_ids(self, question: str, placeholders: int) -> list[int]:
        """The chat prompt's ids for a question about one video, which takes that many placeholders.

        Raises:
            ValueError: a question that is empty or too long.
        """
        tokenizer, family = self.checkpoint.tokenizer, self.checkpoint.family
        for marker in tokenizer.get_added_vocab():  # a typed "<video>" must not become a placeholder
            question = question.replace(marker, " ")
        question = question.strip()
        if not 1 <= len(question) <= MAX_QUESTION:
            raise ValueError(f"The question has {len(question):,} characters; 1 to {MAX_QUESTION:,} are accepted. Ask one short question.")
        conversation = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]
        text = tokenizer.apply_chat_template(
            conversation, chat_template=self.checkpoint.chat_template, add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        place = ids.index(family.video_token(self.model.config))
        return [*ids[:place], *[ids[place]] * placeholders, *ids[place + 1 :]]

    def _check_context(self, ids: list[int], frames: int, method: Method) -> None:
        """Refuse a prompt whose positions would run past what the model was trained on."""
        longest = len(ids)
        if method.positions == "compact":
            longest -= frames * self.tokens_per_frame - method.merged_tokens(frames, self.tokens_per_frame)
        limit = self.model.config.text_config.max_position_embeddings
        if longest > limit:
            raise ValueError(
                f"{frames} frames make a prompt of {longest:,} tokens; this model takes {limit:,}. Use fewer frames or keep fewer tokens."
            )
