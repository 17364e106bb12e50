"""From a question to what the model is given: the chat prompt with placeholders for the clip, and a note on unknown words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from aim.engine.features import feature_inputs
from aim.families import Encoded
from aim.kernels.bounds import TEXT
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.methods import Method
from aim.runtime.checkpoints import Checkpoint


def prompt_ids(checkpoint: Checkpoint, question: str, grid: Grid, longest: int, times: Sequence[float] = ()) -> list[int]:
    """The chat prompt's ids for a question of at most `longest` characters about one clip of this grid.

    `times` are the seconds at which its frames appear, for the families that write them into the prompt; empty where they are not known.

    Raises:
        Refusal: the question is empty or too long, the checkpoint's chat template cannot be used, or the family takes no pictures.
    """
    TEXT.check("question", question)
    tokenizer, family, config = checkpoint.tokenizer, checkpoint.family.taking(grid.is_image), checkpoint.model.config
    given = question.strip()
    for marker in [family.clip_text, *tokenizer.get_added_vocab()]:  # a "<video>" in the question must not become a placeholder
        question = question.replace(marker, " ")
    question = question.strip()
    if given and not question:
        raise Refusal("The question holds nothing but the model's own markers, which are left out of a prompt. Ask it in words.")
    if not 1 <= len(question) <= longest:
        raise Refusal(f"The question has {len(question):,} characters; 1 to {longest:,} are accepted. Ask one short question.")
    conversation: list[Any] = [{"role": "user", "content": [{"type": family.clip_type}, {"type": "text", "text": question}]}]
    # A model that can think first answers at once. Other templates do not read `enable_thinking`.
    template: dict[str, Any] = {"chat_template": checkpoint.chat_template, "add_generation_prompt": True, "tokenize": False}
    template["enable_thinking"] = False
    try:
        text = str(tokenizer.apply_chat_template(conversation, **template))
    except TemplateError:
        text = ""
    if family.clip_text not in text:
        raise Refusal(
            f"The checkpoint's chat template is damaged or of another model: it writes no {family.clip_text} for a clip. "
            "Download the checkpoint again."
        )
    first = str(tokenizer.bos_token or tokenizer.eos_token)
    if family.begun and not text.startswith(first):
        text = first + text
    token = next(token for token in (family.video_token(config), family.image_token(config)) if token is not None)
    placeholder = str(tokenizer.convert_ids_to_tokens(token))
    parts = family.prompt(grid, times)
    stands = "".join(part if isinstance(part, str) else placeholder for part in parts)
    counts = iter([part for part in parts if not isinstance(part, str)])
    ids: list[int] = []
    for number in tokenizer(text.replace(family.clip_text, stands, 1), add_special_tokens=False)["input_ids"]:
        ids += [number] * (next(counts) if number == token else 1)
    return ids


def inputs_for(checkpoint: Checkpoint, ids: list[int], encoded: Encoded) -> dict[str, Any]:
    """The arguments of the model's forward and `generate`, inside `aim.reduce`, for one prompt's ids and the encoded clip in it."""
    family, model = checkpoint.family, checkpoint.model
    prompt = torch.tensor([ids], device=model.device)
    # `generate` writes into what it is given where it makes several sequences, so the kept features themselves are not given away.
    features = {kind: copy(output) for kind, output in encoded.features.items()}
    inputs: dict[str, Any] = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt), **feature_inputs(model, features)}
    inputs |= family.told_types(model.config, prompt)
    return inputs | {name: _moved(value, model.device) for name, value in encoded.inputs.items()}


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if hasattr(value, "to") else value


def check_context(limit: int, length: int, grid: Grid, method: Method) -> None:
    """Refuse a prompt of `length` tokens, those of the clip's `grid` among them, whose positions would run past `limit`.

    Raises:
        Refusal: the prompt is too long.
    """
    longest = length
    if length > limit and method.positions != "original":
        longest -= grid.tokens - method.merged_tokens(grid.frames, grid.tokens_per_frame)
    if longest > limit:
        raise Refusal(
            f"The clip and the question make a prompt of {longest:,} tokens; this model takes {limit:,}. "
            "Use fewer frames or keep fewer tokens."
        )


def unknown_words(tokenizer: PreTrainedTokenizerBase, question: str) -> list[str]:
    """The words of a question that the tokenizer has no token for, in order, each once; none where it has no unknown token."""
    if tokenizer.unk_token_id is None:
        return []
    words = dict.fromkeys(re.findall(r"\w+", question.lower()))
    return [word for word in words if tokenizer.unk_token_id in tokenizer(word, add_special_tokens=False)["input_ids"]]


def note_on(checkpoint: Checkpoint, question: str, is_image: bool) -> str:
    """What the reader should know before trusting an answer, in whole sentences; "" where there is nothing.

    That is the words of the question that the model does not know, and how little of a picture it gets.
    """
    notes = []
    unknown = [f"“{word}”" for word in unknown_words(checkpoint.tokenizer, question)[:5]]
    if unknown:
        words = f"word {unknown[0]}" if len(unknown) == 1 else f"words {', '.join(unknown[:-1])} and {unknown[-1]}"
        notes.append(f"This model does not know the {words}, so its answer is a guess.")
    if is_image and checkpoint.name == "bundled":
        notes.append("This tiny model has learnt from clips alone, so what it says of a single picture is a guess.")
    elif is_image and checkpoint.family.tiles:
        notes.append("The model saw the whole picture once; its own processor would also show it enlarged in tiles, which AIM leaves out.")
    return " ".join(notes)
