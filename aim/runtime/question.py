"""From a question to a prompt: the chat template filled in, placeholders for the clip, and what the model does not know of its words."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

from aim.kernels.grid import Grid
from aim.runtime.checkpoints import Checkpoint


def prompt_ids(checkpoint: Checkpoint, question: str, grid: Grid, longest: int) -> list[int]:
    """The chat prompt's ids for a question of at most `longest` characters about one clip of this grid.

    Raises:
        ValueError: a question that is empty or too long.
    """
    tokenizer, family, config = checkpoint.tokenizer, checkpoint.family, checkpoint.model.config
    for marker in [family.clip_text, *tokenizer.get_added_vocab()]:  # a typed "<video>" must not become a placeholder
        question = question.replace(marker, " ")
    question = question.strip()
    if not 1 <= len(question) <= longest:
        raise ValueError(f"The question has {len(question):,} characters; 1 to {longest:,} are accepted. Ask one short question.")
    conversation = [{"role": "user", "content": [{"type": family.clip_type}, {"type": "text", "text": question}]}]
    text = tokenizer.apply_chat_template(conversation, chat_template=checkpoint.chat_template, add_generation_prompt=True, tokenize=False)
    token = family.video_token(config)
    token = family.image_token(config) if token is None else token
    placeholder = tokenizer.convert_ids_to_tokens(token)
    parts = family.prompt(grid)
    stands = "".join(part if isinstance(part, str) else placeholder for part in parts)
    counts = iter([part for part in parts if not isinstance(part, str)])
    ids = []
    for number in tokenizer(text.replace(family.clip_text, stands, 1), add_special_tokens=False)["input_ids"]:
        ids += [number] * (next(counts) if number == token else 1)
    return ids


def unknown_words(tokenizer: PreTrainedTokenizerBase, question: str) -> list[str]:
    """Words of a question that the tokenizer has no token for, in order, each once. Tokenizers that spell out any word know all."""
    if tokenizer.unk_token_id is None:
        return []
    words = dict.fromkeys(re.findall(r"\w+", question.lower()))
    return [word for word in words if tokenizer.unk_token_id in tokenizer(word, add_special_tokens=False)["input_ids"]]


def note_on(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """What to say of a question whose words the model does not know; "" where it knows them all."""
    unknown = unknown_words(tokenizer, question)
    if not unknown:
        return ""
    return f"Outside this model's world: it does not know {', '.join(f'“{word}”' for word in unknown[:5])}."
