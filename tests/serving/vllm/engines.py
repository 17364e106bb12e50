"""vLLM engines in this process, and what is asked of them.

Almost all the time of a start is that of importing vLLM once more in every process, so an engine here has none of its own.
"""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from vllm import LLM, ModelRegistry, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory

from aim.serving.vllm.served import SERVED
from tests.serving.vllm.cases import FPS, NEW_TOKENS, QWEN, REFERENCES, frames_of

CLOSE = 5e-3  # of log-probabilities
SETTINGS = {
    "dtype": "float32",
    "max_model_len": 512,
    "max_num_batched_tokens": 40,  # chunks that end within clips
    "max_num_seqs": 4,
    "block_size": 32,  # prompts here are shorter than the 128 of a processor
    "kv_cache_memory_bytes": 32 * 2**20,
    "enforce_eager": True,
    "limit_mm_per_prompt": {"video": 2, "image": 1},
    "disable_log_stats": True,
}


@contextmanager
def engine(kind: str, checkpoint: str, served_by: str | None = None, **settings):
    """A checkpoint of a kind, a key of `SERVED`, served by a class "module:name", by default the plugin's."""
    architecture, home = SERVED[kind]
    ModelRegistry.register_model(architecture, served_by or home)
    started = LLM(checkpoint, **SETTINGS, **settings)
    try:
        yield started
    finally:
        started.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()


def expected(name: str) -> dict:
    """Of a tiny model what `aim.reduce` answers, by prompt and ratio."""
    return json.loads(REFERENCES.read_text())[name]


def clip(frames):
    """Frames with what vLLM wants to know of them."""
    count = len(frames)
    told = {"total_num_frames": count, "fps": FPS, "duration": count / FPS, "frames_indices": list(range(count))}
    return frames, {**told, "video_backend": "opencv", "do_sample_frames": False}


def prompt(name: str, ratio: float | None = None) -> dict:
    """A key of `QWEN` as vLLM takes it."""
    text, pictures = QWEN[name]
    data = {"video": [clip(frames_of(*shape)) for kind, *shape in pictures if kind == "video"]}
    images = [frames_of(*shape)[0] for kind, *shape in pictures if kind == "image"]
    if images:
        data["image"] = images
    asked = {} if ratio is None else {"mm_processor_kwargs": {"merge_ratio": ratio}}
    return {"prompt": text, "multi_modal_data": data, **asked}


def answers(engine, prompts: list[dict]) -> list:
    greedy = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=5, ignore_eos=True)
    return engine.generate(prompts, greedy, use_tqdm=False)


def check(output, expected: dict) -> None:
    [said] = output.outputs
    assert len(output.prompt_token_ids) == expected["prompt_tokens"]
    assert list(said.token_ids) == expected["ids"]
    first = {str(number): told.logprob for number, told in said.logprobs[0].items()}
    assert {number: first[number] for number in expected["first"]} == pytest.approx(expected["first"], abs=CLOSE)
