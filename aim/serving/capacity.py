"""How many requests a server's KV cache holds, with and without merging, from a model's shape alone. It needs neither vLLM nor weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from aim.families import FAMILIES
from aim.kernels.bounds import FROM_1, SHARE
from aim.kernels.cost import kv_bytes
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import merged_per_frame
from aim.methods import AIM, Method
from aim.methods.published import PAPER_TEXT_TOKENS
from aim.planning.plan import look_up
from aim.serving.vllm.served import ANSWER_TOKENS, SERVED

BLOCK = 16  # tokens of a block of vLLM's paged KV cache, by default


@dataclass(frozen=True)
class Load:
    """One request at one merge ratio.

    Attributes:
        merge_ratio: 1 merges nothing.
        prompt_tokens: visual tokens after merging, and text.
        kv_bytes: what the prompt and the answer take of the KV cache, in whole blocks.
        requests: how many such requests the budget holds at a time. Prompts that share a clip take less, since a block is kept once.
    """

    merge_ratio: float
    prompt_tokens: int
    kv_bytes: int
    requests: int


@dataclass(frozen=True)
class Capacity:
    """What a KV budget of so many bytes holds, with merging and without."""

    kv_budget: int
    merged: Load
    unmerged: Load

    def to_dict(self) -> dict:
        """Plain numbers."""
        return asdict(self)


def capacity(
    model: str,
    num_frames: int = 32,
    text_tokens: int = PAPER_TEXT_TOKENS,
    merge_ratio: float = 0.25,
    kv_budget: int = 16 * 2**30,
    answer_tokens: int = ANSWER_TOKENS,
    bytes_per_value: int = 2,
    block: int = BLOCK,
) -> Capacity:
    """Plan a server of one model whose requests are alike.

    Args:
        model: a name in `aim.families.PUBLISHED` (or its Hub id), "bundled", or a checkpoint folder.
        num_frames: frames of each request's clip, ≥ 1.
        text_tokens: everything in the prompt that is not a patch, ≥ 1.
        merge_ratio: share of each frame's visual tokens that merging leaves, in (0, 1].
        kv_budget: bytes that the KV cache may take, over all GPUs, ≥ 1; by default 16 GiB.
        answer_tokens: the longest answer, ≥ 1.
        bytes_per_value: of the KV cache.
        block: tokens of one block of the KV cache.

    Raises:
        Refusal: an unknown model, one that the plugin does not serve, or numbers out of range.
    """
    counts = {"num_frames": num_frames, "text_tokens": text_tokens, "kv_budget": kv_budget, "answer_tokens": answer_tokens}
    for name, value in counts.items():
        FROM_1.check(name, value, "Pass a larger number.")
    SHARE.check("merge_ratio", merge_ratio, "Use 1 to merge nothing.")
    planned = look_up(model, num_frames)
    served = {FAMILIES[kind].title: FAMILIES[kind] for kind in SERVED}
    if planned.family not in served.values():
        raise Refusal(f"The vLLM plugin serves {', '.join(served)}; {planned.family.title} was given. Plan it without --serving.")

    def load(ratio: float) -> Load:
        prompt = planned.steps(num_frames) * merged_per_frame(ratio, planned.tokens_per_frame) + text_tokens
        # The answer's last token is never read again, so nothing of it is kept.
        blocks = -(-(prompt + answer_tokens - 1) // block)
        held = kv_bytes(planned.shape, [blocks * block] * planned.shape.num_layers, bytes_per_value)
        return Load(ratio, prompt, held, kv_budget // held)

    return Capacity(kv_budget, load(merge_ratio), load(1))


def served_ratio(method: Method) -> float:
    """The merge ratio of a method that a server can run: AIM's, where no other knob was moved.

    Raises:
        Refusal: the method drops tokens inside the LLM, or merges in another way than the plugin does.
    """
    if not isinstance(method, AIM) or method != AIM(method.merge_ratio):
        raise Refusal(
            "--serving plans merging before the LLM alone, since paged KV has one length for all layers and tokens cannot be dropped "
            "inside the LLM; another method or another knob was given. Give --merge-ratio alone."
        )
    return method.merge_ratio
