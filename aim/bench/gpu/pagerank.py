"""PageRank alone, beside the decoder layer whose tokens it scores, and beside itself in float32."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import torch
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RotaryEmbedding

from aim.bench.gpu.parts import Found, Setting
from aim.kernels.importance import pagerank
from aim.runtime.gpus import wait_for
from aim.runtime.memory import Peak, read_held
from aim.views.text_tables import markdown_table
from aim.views.units import seconds, size

# Tokens: LLaVA-OneVision-7B's 32 frames in full, merged to a quarter, and late in the ramp; 100 of them are text.
TOKENS, SMALL_TOKENS = (500, 1668, 6372), (60, 120)
TOLERANCE = 1e-3  # of the largest rank
RUNS = 10


@dataclass(frozen=True)
class Sizes:
    """What of an LLM a decoder layer is made of; `width` is that of a head."""

    heads: int = 28
    key_heads: int = 4
    width: int = 128
    inner: int = 18944

    @property
    def hidden(self) -> int:
        return self.heads * self.width


@dataclass(frozen=True)
class Timed:
    """Seconds of a layer and of PageRank on its tokens, the largest difference from float32 as a share of the largest rank, and bytes."""

    layer_seconds: float
    pagerank_seconds: float
    error: float
    working_bytes: int | None


@torch.inference_mode()
def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """Time both at each number of tokens."""
    sizes = Sizes(4, 2, 32, 256) if setting.small else Sizes()
    timed: dict[int, Timed] = {}
    left_out = []
    for n in SMALL_TOKENS if setting.small else TOKENS:
        if reason := stop():
            left_out.append(f"{n} tokens: {reason}")
        else:
            timed[n] = measured(n, sizes, setting.device)
    wrong = [
        f"{n} tokens: ranks differ by {one.error:.1e} of the largest from those in float32; accepted: {TOLERANCE:.0e}"
        for n, one in timed.items()
        if not one.error <= TOLERANCE
    ]
    return Found({str(n): asdict(one) for n, one in timed.items()}, _table(timed), wrong, left_out)


def measured(n: int, sizes: Sizes, device: torch.device) -> Timed:
    """Time a Qwen2 layer in bfloat16 on n tokens, and PageRank on as many queries and keys, all of random numbers."""
    config = Qwen2Config(
        hidden_size=sizes.hidden,
        intermediate_size=sizes.inner,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_heads,
        num_hidden_layers=1,
        vocab_size=100,
    )
    config._attn_implementation = "sdpa"
    layer = Qwen2DecoderLayer(config, 0).to(device, torch.bfloat16).eval()
    generator = torch.Generator(device).manual_seed(0)
    hidden, query, key = (
        torch.randn(*shape, generator=generator, device=device).bfloat16()
        for shape in ((1, n, sizes.hidden), (sizes.heads, n, sizes.width), (sizes.key_heads, n, sizes.width))
    )
    positions = Qwen2RotaryEmbedding(config).to(device)(hidden, torch.arange(n, device=device)[None])
    gpus, scaling = [device] if device.type == "cuda" else [], sizes.width**-0.5
    own = _seconds(lambda: layer(hidden, attention_mask=None, position_embeddings=positions), gpus)
    peak, held = Peak(gpus), read_held(gpus)
    ranked = _seconds(lambda: pagerank(query, key, scaling), gpus)
    most = peak.read()
    exact = pagerank(query.float(), key.float(), scaling)
    error = float((pagerank(query, key, scaling) - exact).abs().max() / exact.max())
    return Timed(own, ranked, error, None if most is None or held is None else most - held)


def _table(timed: dict[int, Timed]) -> str:
    rows = [["tokens", "decoder layer", "PageRank", "of the layer", "difference from float32", "working memory"]]
    for n, one in timed.items():
        times = (seconds(one.layer_seconds), seconds(one.pagerank_seconds), f"{100 * one.pagerank_seconds / one.layer_seconds:.1f} %")
        rows.append([str(n), *times, f"{one.error:.1e}", "-" if one.working_bytes is None else size(one.working_bytes)])
    return markdown_table(rows)


def _seconds(call: Callable[[], object], gpus: list[torch.device]) -> float:
    """Median seconds of a call, after two that are not counted."""
    times = []
    for _ in range(RUNS + 2):
        wait_for(gpus)
        start = time.perf_counter()
        call()
        wait_for(gpus)
        times.append(time.perf_counter() - start)
    return median(times[2:])
