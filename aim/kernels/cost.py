"""What a prefill costs, as plain arithmetic on shapes: FLOPs (a fused multiply-add counts 2) and bytes of KV cache.

`prefill_flops` is the paper's account (AIM, arXiv 2412.03248) and reproduces its table. That account leaves out the vision tower, merging
and PageRank, and it counts the output head at half. Each of these has its own function here, whose figure is reported beside the paper's
and never added to it. Biases, rotary embeddings and data movement are not counted. Times cannot be read off these figures.
"""

from __future__ import annotations

from collections.abc import Sequence

from aim.kernels.schedule import merge_steps
from aim.kernels.shape import ModelShape, VisionShape


def layer_flops(shape: ModelShape, tokens: int) -> int:
    """FLOPs of one decoder layer that attends to keys on n tokens, as the paper counts them, without causal halving.

    2n · weights (linears) + 4n²·H·d (q·kᵀ and attention · v) + 5·H·n² (softmax) + 14·n·h (two norms) + n·h (one residual add)
    + 2·n·h (activation), with H query heads of size d and hidden size h.
    """
    linears = 2 * tokens * shape.layer_weights
    attention = 4 * tokens**2 * shape.num_heads * shape.head_dim
    softmax = 5 * shape.num_heads * tokens**2
    return linears + attention + softmax + 17 * tokens * shape.hidden_size


def linear_layer_flops(shape: ModelShape, tokens: int) -> int:
    """FLOPs of one layer of linear attention on n tokens, which grow with n alone.

    2n · weights (linears and convolution) + 7n · state (a token decays the matrices, reads them twice and adds an outer product), and
    17·n·h as in `layer_flops`. The recurrence is counted token by token; kernels that take tokens in chunks compute more at once.
    """
    state = shape.linear.state if shape.linear else 0
    return tokens * (2 * shape.linear_weights + 7 * state + 17 * shape.hidden_size)


def prefill_flops(shape: ModelShape, lengths: list[int]) -> int:
    """FLOPs of all decoder layers, and h · vocabulary for the output head: the paper's figure, to its printed digits.

    The paper's calculator counts the head once, without the 2 of a multiply-add (`lm_head_flops` has it). `lengths` holds the tokens that
    each layer runs on, text included.

    Raises:
        ValueError: not one length for each layer.
    """
    head = shape.hidden_size * shape.vocab_size
    full, linear = _by_kind(shape, lengths)
    return head + sum(layer_flops(own, tokens) for own, _, tokens in full) + sum(linear_layer_flops(shape, tokens) for tokens in linear)


def causal_prefill_flops(shape: ModelShape, lengths: list[int]) -> int:
    """FLOPs of the matrix products of a prefill with causal kernels, which skip what lies in the future.

    A layer: 2n · weights + 2·n·(n + 1)·H·d (q·kᵀ and attention · v, half of what `layer_flops` counts), and the output head for one
    position. A layer with a window counts as one without, because SDPA also computes what a mask hides. Softmax, norms and activations are
    left out. Layers of linear attention count as in `linear_layer_flops`, without the norms.

    Raises:
        ValueError: not one length for each layer.
    """
    full, linear = _by_kind(shape, lengths)
    layers = sum(2 * tokens * (own.layer_weights + own.num_heads * own.head_dim * (tokens + 1)) for own, _, tokens in full)
    norms = 17 * shape.hidden_size * sum(linear)
    return layers + sum(linear_layer_flops(shape, tokens) for tokens in linear) - norms + lm_head_flops(shape)


def kv_bytes(shape: ModelShape, lengths: list[int], bytes_per_value: int = 2) -> int:
    """Bytes of keys and values after the prefill: 2 · KV heads · d · n · bytes, summed over the layers that have them.

    A layer with a window of w tokens keeps w - 1 of them at most. Layers of linear attention keep matrices of a fixed size instead, which
    are not counted.

    Raises:
        ValueError: not one length for each layer.
    """
    full, _ = _by_kind(shape, lengths)
    return 2 * bytes_per_value * sum(own.num_key_value_heads * own.head_dim * own.cached(layer, tokens) for own, layer, tokens in full)


def lm_head_flops(shape: ModelShape) -> int:
    """FLOPs of the output head at the prefill: 2 · h · vocabulary, for the one position whose next token is wanted."""
    return 2 * shape.hidden_size * shape.vocab_size


def decode_flops(shape: ModelShape, lengths: list[int], steps: int) -> int:
    """FLOPs of `steps` decoding steps after a prefill that ran on `lengths` tokens in each layer.

    A step runs every layer on one token, which attends to the cache and itself, n entries in all: 2 · weights + 4·n·H·d + 5·H·n + 17·h (the
    terms of `layer_flops`), and the output head. With a window of w tokens n is w at most. A layer of linear attention costs the same in
    every step.

    Raises:
        ValueError: not one length for each layer.
    """
    full, linear = _by_kind(shape, lengths)
    layers = sum(2 * own.layer_weights + 17 * own.hidden_size for own, _, _ in full) + len(linear) * linear_layer_flops(shape, 1)
    attention = sum(
        (4 * own.head_dim + 5) * own.num_heads * sum(own.cached(layer, tokens + step) + 1 for step in range(steps))
        for own, layer, tokens in full
    )
    return steps * (layers + lm_head_flops(shape)) + attention


def vision_flops(vision: VisionShape, frames: int, lengths: Sequence[tuple[int, float]] = ()) -> int:
    """FLOPs of the vision tower and projector on `frames` frames, each of P patches and n tokens (patches and CLS).

    A frame: 2·P·patch_pixels·h (patch embedding) + layers · 2·n·(4·h² + 2·h·intermediate) (q, k, v, o and the MLP's two matrices; keys
    and values of another width c make it 2·h² + 2·h·c in place of 4·h²)
    + 4·h·pairs (q·kᵀ and attention · v) + 2·(P / k)·(k·h·m + m·p + further) for each projector (of k patches, to m and then p; of their
    mean, h·m in place of k·h·m, and 2·(P / k)·P·h more where a matrix makes the means).

    Where j patches become one inside the tower, the layers behind run on P / j, and joining them takes 8·P·h² + 4·P·j·h (attention among
    the j) + 2·(P / j)·(j + 1)·h·narrowing. Only matrix products are counted: norms, softmax and activations, around 1 %, are left out.

    Args:
        lengths: (queries, keys) of a frame in each layer, where these are not all n. Each query is a token that the layer computes.

    Raises:
        ValueError: not one entry for each layer.
    """
    if lengths and len(lengths) != vision.num_layers:
        raise ValueError(f"lengths holds {len(lengths)} pairs; the tower has {vision.num_layers} layers. Pass one for each layer.")
    patches, hidden, projected = vision.patches_per_frame, vision.hidden_size, vision.projector_size
    together, middle = vision.projector_patches, vision.projector_middle or projected
    keys = vision.keys_size or hidden
    embedding = 2 * patches * vision.patch_pixels * hidden
    lengths = lengths or [vision.lengths(layer, vision.parts) for layer in range(vision.num_layers)]
    linears = 2 * sum(queries for queries, _ in lengths) * (2 * hidden**2 + 2 * hidden * (keys + vision.intermediate_size))
    attention = 4 * hidden * sum(round(queries * keys) for queries, keys in lengths)
    first = hidden * middle * (1 if vision.projector_means else together)
    second = middle * projected * (vision.projector_matrices - 1)
    projector = 2 * (vision.last_patches // together) * (first + second + vision.projector_further) if projected else 0
    means = 2 * (patches // together) * patches * hidden * vision.means_by_matrix
    by, between = vision.narrowed_by, vision.narrowing_size
    joining = patches * (8 * hidden**2 + 4 * hidden * by) + 2 * vision.last_patches * hidden * between * (by + 1) if between else 0
    return frames * (embedding + linears + attention + joining + vision.projectors * projector + means)


def merge_flops(
    hidden: int,
    frames: int,
    tokens_per_frame: int,
    target: int,
    weighted: bool = False,
    merge_order: str = "raster",
    key_size: int = 0,
    largest_step: float = 0.5,
) -> int:
    """FLOPs of `aim.kernels.merging.merge_tokens` on `frames` windows of T = `tokens_per_frame` embeddings of size C = `hidden`, left at
    `target`.

    Each step from T tokens, removing r (`aim.kernels.schedule.merge_steps`): 2·⌈T/2⌉·⌊T/2⌋·C (similarities) + 3·T·C (normalising: squares,
    their sum, division) + (r + ⌊T/2⌋)·C (sums and division of the means). With `weighted`, every step but the first adds T·C (weights).
    Where tokens are compared by keys of size D = `key_size`, similarities and normalising take D in place of C, and the means C + D.
    Sorting is left out.

    Raises:
        ValueError: target not in 1...tokens_per_frame.
    """
    if not 1 <= target <= tokens_per_frame:
        raise ValueError(
            f"target is {target}; merging leaves 1 to {tokens_per_frame} of {tokens_per_frame} tokens. Pass a number in that range."
        )
    flops, tokens, compared = 0, tokens_per_frame, key_size or hidden
    for removed in merge_steps(tokens_per_frame, target, merge_order, largest_step):
        half = tokens // 2
        weighing = tokens if weighted and tokens < tokens_per_frame else 0
        flops += (2 * (tokens - half) * half + 3 * tokens) * compared + (removed + half + weighing) * (hidden + key_size)
        tokens -= removed
    return frames * flops


def attention_merge_flops(hidden: int, vision: VisionShape, frames: int, tokens_per_frame: int, merged: int, neighbours: int) -> int:
    """FLOPs of `aim.kernels.attention_merging.merge_by_attention`, which leaves `merged` tokens of size C = `hidden`.

    `received_flops`, and to them come 3·h a token (normalised keys), 2·T·h a kept token (cosines), and 2·neighbours·C a kept token and 2·C
    any other token (weighted sums). One merged token of each frame is the sum of those others, so it does not count as kept. Sorting is
    left out.
    """
    tokens, kept = frames * tokens_per_frame, merged - frames
    cosines = (3 * tokens + 2 * kept * tokens_per_frame) * vision.hidden_size
    summed = 2 * (kept * min(neighbours, tokens_per_frame - 1) + tokens - kept) * hidden
    return received_flops(vision, frames) + cosines + summed


def received_flops(vision: VisionShape, frames: int) -> int:
    """FLOPs of asking the vision tower what its tokens attend to (`aim.families.towers`).

    Its q·kᵀ is computed once more, 2·P²·h a frame of P patches, or 2·P·h where a CLS token asks alone. Softmax and mean are left out, as in
    `vision_flops`.
    """
    asking = 1 if vision.other_tokens else vision.last_patches
    return frames * 2 * asking * vision.last_patches * vision.hidden_size


def look_ahead_flops(shape: ModelShape, lengths_scored: list[int]) -> int:
    """FLOPs of asking a layer for the queries and keys of n tokens before it runs: 7·n·h (norm) + 2·n·h·(H + KV)·d (projections)."""
    heads = shape.num_heads + shape.num_key_value_heads
    return shape.hidden_size * (7 + 2 * heads * shape.head_dim) * sum(lengths_scored)


def pagerank_flops(shape: ModelShape, lengths_scored: list[int], iterations: int) -> int:
    """FLOPs of `aim.kernels.importance.pagerank` in the layers that are scored, with the tokens each of them runs on, text included.

    A layer of n tokens: H · (2·n²·d (scores, computed again beside the attention kernel) + n² (temperature) + 5·n² (softmax)
    + 2·iterations·n² (p·M)). There is no causal halving, as in `layer_flops`. The paper's 4.18 GFLOPs leave the scores out.
    """
    per_pair = 2 * shape.head_dim + 1 + 5 + 2 * iterations
    return shape.num_heads * per_pair * sum(tokens**2 for tokens in lengths_scored)


def last_token_flops(shape: ModelShape, lengths_scored: list[int]) -> int:
    """FLOPs of `aim.kernels.importance.last_token_attention` in the layers that are scored, with the tokens each of them runs on, text
    included.

    A layer of n tokens: H · (2·n·d (one query's scores) + 5·n (softmax)), as `decode_flops` counts them. This is linear in n, so it is
    hardly a thousandth of `pagerank_flops`. The scaling of the query and the mean over heads are left out.
    """
    return shape.num_heads * (2 * shape.head_dim + 5) * sum(lengths_scored)


def _by_kind(shape: ModelShape, lengths: list[int]) -> tuple[list[tuple[ModelShape, int, int]], list[int]]:
    """(numbers, index and length of the layers that attend to keys, lengths of those of linear attention).

    Raises:
        ValueError: not one length for each layer.
    """
    if len(lengths) != shape.num_layers:
        raise ValueError(f"lengths holds {len(lengths)} numbers; the model has {shape.num_layers} layers. Pass the tokens of each layer.")
    full = [(shape.of(layer), layer, tokens) for layer, tokens in enumerate(lengths) if layer not in shape.linear_layers]
    return full, [lengths[layer] for layer in shape.linear_layers]
