"""lmms-eval's benchmarks on this project's runtime: `--model aim`, registered by the entry point in pyproject.toml.

lmms-eval 0.7.3 brings the tasks, prompts and scorers, and accelerate the processes. A video and a question go through `VLM.ask`, as in the
app.
Only lmms-eval imports this module, so nothing else needs it installed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.protocol import ChatMessages
from loguru import logger
from tqdm import tqdm

from aim.kernels.refusal import Refusal
from aim.methods import METHODS, Method
from aim.runtime.answer import Answer
from aim.runtime.vlm import VLM, load
from aim.video.clip import Clip, read_video

DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_NEW_TOKENS = 1024  # for tasks that do not say how many, as in lmms-eval's own models
SAMPLING = ("temperature", "top_p", "top_k")


def manifests() -> list[ModelManifest]:
    """What the entry point `lmms_eval.models` hands to lmms-eval: the one model "aim"."""
    return [ModelManifest(model_id="aim", chat_class_path=f"{__name__}.{AIMModel.__name__}")]


@dataclass
class Counts(TokenCounts):
    """lmms-eval writes `to_dict()` beside every answer and gathers it over all processes, so the reduction's figures ride along."""

    reduction: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict:
        return {**super().to_dict(), **self.reduction}


class AIMModel(lmms):
    """A checkpoint under one method, for tasks that ask one question about one video.

    Args, as `--model_args` gives them:
        pretrained: "bundled", a checkpoint folder or a Hub id.
        method: a name in `aim.METHODS`; its knobs are given beside it, for example `merge_ratio=0.25,l1=14,l2=22`.
        max_frames: frames sampled uniformly in time, 1 to 512; a clip that has fewer gives all.
        dtype: "auto" (bfloat16 on CUDA, else float32), "float32", "bfloat16" or "float16".
        device: where one process runs; several run on the devices that accelerate gives them.
        batch_size: 1.
        max_batch_size: ignored; lmms-eval passes it on when it is given.

    Raises:
        Refusal: a checkpoint that cannot be loaded, an unknown method or model argument, a knob out of range, another batch size.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        method: str = "aim",
        max_frames: int = 32,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **knobs,
    ):
        super().__init__()
        self.method = _method(method, knobs)
        if str(batch_size) != "1":
            raise Refusal(f"batch_size is {batch_size}; accepted: 1. Leave it out and run more processes.")
        if dtype not in DTYPES:
            raise Refusal(f"dtype is {dtype!r}; accepted: {', '.join(DTYPES)}. Leave it out if in doubt.")
        self.accelerator = Accelerator()  # lmms-eval gathers through it, from tensors on self.device
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        alone = self._world_size == 1
        self.device = torch.device(device) if device and alone else self.accelerator.device
        self.vlm: VLM | None = load(pretrained, self.device, DTYPES[dtype])
        # Prompts with subtitles are long. What the model cannot take is refused by its context.
        self.vlm.max_question = sys.maxsize
        self.max_frames = max_frames
        self._clip: tuple[str, Clip] | None = None

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answer every request. A request that cannot be answered ends the process with an exit code.

        lmms-eval itself would log the error and exit with 0 while the other processes wait; at another code their launcher ends them. The
        processes exchange nothing in here, since one of them may have nothing left to run.

        Raises:
            SystemExit: a request that cannot be answered.
        """
        results, counted = [], []
        for request in tqdm(requests, desc="aim", disable=self.rank != 0):
            _, doc_to_messages, given, document, task, split = request.args
            try:
                video, question = _parts(ChatMessages(messages=doc_to_messages(self.task_dict[task][split][document])))
                answer = self.vlm.ask(self._read(video), question, self.method, **_generation(given))
            except Exception as error:
                logger.opt(exception=error).error("aim stops")
                raise SystemExit(f"aim: {task}, document {document}: {error}") from error
            counts = _counts(answer)
            results.append(GenerationResult(answer.text, counts))
            if not request.metadata.get("__padding_only__"):  # a copy of the last request, which evens out the processes' numbers
                counted.append(counts)
        if counted:
            _log(counted)
        return results

    def _read(self, video: str) -> Clip:
        """The clip, read once for questions about it in a row."""
        if self._clip is None or self._clip[0] != video:
            self._clip = (video, read_video(video, self.max_frames))
        return self._clip[1]

    def clean(self) -> None:
        """Free the model, as lmms-eval asks before it scores."""
        self.vlm = self._clip = None
        super().clean()

    def loglikelihood(self, requests: list[Instance]):
        """Refused, since answers here are generated.

        Raises:
            Refusal: always.
        """
        raise Refusal("The task scores given options by their likelihood; aim generates answers. Choose a generate_until task.")

    def generate_until_multi_round(self, requests: list[Instance]):
        """Refused, since one question is asked about a video.

        Raises:
            Refusal: always.
        """
        raise Refusal("The task has several rounds; aim answers one question about a video. Choose a generate_until task.")


def _method(name: str, knobs: dict) -> Method:
    if name not in METHODS:
        raise Refusal(f"method is {name!r}; accepted: {', '.join(sorted(METHODS))}. Give one of these.")
    taken = METHODS[name].__dataclass_fields__
    unknown = [knob for knob in knobs if knob not in taken]
    if unknown:
        raise Refusal(f"method={name} takes these knobs: {', '.join(taken) or 'none'}; given: {', '.join(unknown)}. Leave these out.")
    try:
        return METHODS[name](**knobs)
    except TypeError as error:
        given = ", ".join(f"{knob}={value!r}" for knob, value in knobs.items())
        raise Refusal(f"method={name} was given {given}, one of the wrong type ({error}). Give numbers as numbers.") from error


def _parts(messages: ChatMessages) -> tuple[str, str]:
    """(video, question) of a sample that is one user turn with one whole video, then text."""
    contents = [content for message in messages.messages for content in message.content]
    kinds = [content.type for content in contents]
    roles = {message.role for message in messages.messages}
    if roles != {"user"} or kinds[:1] != ["video"] or set(kinds[1:]) != {"text"}:
        given = ", ".join(kinds) or "nothing"
        raise Refusal(f"The sample holds {given} from {', '.join(sorted(roles))}; accepted: one video, then text. Choose such a task.")
    video, *texts = contents
    if video.start_time is not None or video.end_time is not None:
        raise Refusal("The sample asks about a part of its video; accepted: whole videos. Cut the clips first, or choose another task.")
    return video.url, "\n".join(text.text for text in texts)


def _generation(given: dict) -> dict:
    """The task's generation arguments that `generate` is to see; `until` and whatever else is for other models is left out."""
    if given.get("num_beams") not in (None, 1):
        raise Refusal(f"num_beams is {given['num_beams']}; accepted: 1. Set it with --gen_kwargs num_beams=1.")
    arguments = {"max_new_tokens": given.get("max_new_tokens", MAX_NEW_TOKENS)}
    temperature = given.get("temperature")
    if given.get("do_sample", bool(temperature)) and temperature != 0:
        arguments |= {"do_sample": True, **{name: given[name] for name in SAMPLING if given.get(name) is not None}}
    return arguments


def _counts(answer: Answer) -> Counts:
    """`input_tokens` are those layer 0 ran on; `seconds` are the question's, without decoding the video."""
    trace, timings = answer.trace, answer.timings
    return Counts(
        input_tokens=sum(trace.tokens_per_layer[0]),
        output_tokens=answer.new_tokens,
        reduction={
            "visual_tokens": trace.visual_tokens,
            "merged_tokens": trace.merged_tokens,
            "prefill_tflops": answer.cost["prefill_tflops"],
            "prefill_seconds": timings["llm_prefill"],
            "seconds": timings["total"],
        },
    )


def _log(counted: list[Counts]) -> None:
    """This process's totals, and the means of the reduction's figures, into lmms-eval's own log."""
    tokens = sum(counts.output_tokens for counts in counted)
    seconds = sum(counts.reduction["seconds"] for counts in counted)
    means = {name: sum(counts.reduction[name] for counts in counted) / len(counted) for name in counted[0].reduction}
    log_metrics(seconds, tokens, tokens / seconds, means)
