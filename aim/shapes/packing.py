"""Many questions about one clip in one training row, each seeing the clip and itself only.

A row is `<|im_start|>user <video>...` once, then for each question `text <|im_end|><|im_start|>assistant answer`. Positions restart after
the clip for every question, and attention is cut between questions, so each is exactly the single-turn prompt the app will send.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from aim.shapes.model import MEAN, STD
from aim.shapes.questions import TYPES, Question

PREFIX_WORDS = ("<|im_start|>", "user")
NO_LABEL = -100


@dataclass
class PackedBatch:
    """Tensors for `num_clips` rows of `length` tokens; the first `prefix` of each are the shared clip.

    `input_ids`, `positions` (float, see `pack`), `labels` (the answer and the end token, else -100) and `types` (index into `TYPES`
    at the place that predicts the answer, else -1) are [num_clips, length]; `mask` is bool [num_clips, 1, length - prefix, length],
    which keys each question token may see.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    types: torch.Tensor
    mask: torch.Tensor
    prefix: int

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same on another device."""
        return PackedBatch(
            input_ids=self.input_ids.to(device),
            positions=self.positions.to(device),
            labels=self.labels.to(device),
            types=self.types.to(device),
            mask=self.mask.to(device),
            prefix=self.prefix,
        )


def pack(questions: list[list[Question]], visual_tokens: int, tokenizer, strides: list[float] | None = None) -> PackedBatch:
    """Lay out each clip's questions.

    `visual_tokens` counts the clip's placeholders. `strides` gives for each clip the distance between the positions of neighbouring visual
    tokens (1 = as in the stock model). Smaller ones mimic the compact positions of a merged clip without merging anything.
    """
    token = tokenizer.get_vocab()
    prefix = len(PREFIX_WORDS) + visual_tokens
    rows = [_row(qs, visual_tokens, token, tokenizer, 1.0 if strides is None else strides[i]) for i, qs in enumerate(questions)]
    length = max(len(row["ids"]) for row in rows)
    length = -(-length // 8) * 8

    def padded(name: str, value: float, dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor([row[name] + [value] * (length - len(row[name])) for row in rows], dtype=dtype)

    number = padded("number", -1, torch.long)  # 0 for the clip, 1... for the questions, -1 for padding
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = causal & ((number[:, None, :] == 0) | (number[:, None, :] == number[:, :, None]))
    return PackedBatch(
        input_ids=padded("ids", token["<pad>"], torch.long),
        positions=padded("positions", 0.0, torch.float32),
        labels=padded("labels", NO_LABEL, torch.long),
        types=padded("types", -1, torch.long),
        mask=mask[:, None, prefix:],
        prefix=prefix,
    )


def _row(questions: list[Question], visual_tokens: int, token: dict[str, int], tokenizer, stride: float) -> dict[str, list]:
    words = [token[w] for w in PREFIX_WORDS]
    ids = [*words, *[token["<video>"]] * visual_tokens]
    positions = [*map(float, range(len(words))), *(len(words) + stride * i for i in range(visual_tokens))]
    start = len(words) + float(np.ceil(stride * visual_tokens))
    labels, types, number = [NO_LABEL] * len(ids), [-1] * len(ids), [0] * len(ids)
    for index, question in enumerate(questions):
        prompt = tokenizer(f"{question.text}<|im_end|><|im_start|>assistant", add_special_tokens=False)["input_ids"]
        turn = [*prompt, token[question.answer]]
        ids += turn
        positions += [start + i for i in range(len(turn))]
        labels += [*[NO_LABEL] * (len(prompt) - 1), token[question.answer], token["<|im_end|>"]]
        types += [*[-1] * (len(prompt) - 1), TYPES.index(question.type), -1]
        number += [index + 1] * len(turn)
    return {"ids": ids, "positions": positions, "labels": labels, "types": types, "number": number}


def to_pixels(clips: np.ndarray) -> torch.Tensor:
    """uint8 [clips, frames, height, width, 3] → normalised float32 [clips, frames, 3, height, width], as the processor settings say."""
    pixels = torch.from_numpy(clips).movedim(-1, -3).float().div_(255)
    return pixels.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))


def packed_forward(model, batch: PackedBatch, visual: torch.Tensor, layers: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, and what `layers` layers made of the patches and of the questions.

    Args:
        visual: float [num_clips, placeholders, hidden], the projected clip with its newline token, last.

    Returns:
        Logits [labelled places, vocabulary] wherever `batch.labels` asks for a token; patches [num_clips, placeholders - 1, hidden]; and
        the places that predict the answers, [questions, hidden], clip by clip.
    """
    language_model = model.model.language_model
    words = language_model.embed_tokens(batch.input_ids)
    start = len(PREFIX_WORDS)
    embeddings = torch.cat([words[:, :start], visual.to(words.dtype), words[:, batch.prefix :]], dim=1)
    output = language_model(
        inputs_embeds=embeddings, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False, output_hidden_states=True
    )
    logits = model.lm_head(output.last_hidden_state[batch.labels != NO_LABEL])
    halfway = output.hidden_states[layers]
    return logits, halfway[:, start : batch.prefix - 1], halfway[batch.types >= 0]


def visual_embeddings(model, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels [clips, frames, 3, height, width] → the stock model's projected tokens and newline, float32 [clips, frames·T + 1, hidden]."""
    return model.model.get_video_features(pixels, return_dict=True).pooler_output.float()


def packed_attention(module, query, key, value, attention_mask, scaling=None, **_):
    """Attention of packed rows: plain causal inside the clip, masked for the questions. query [B, H, N, d], mask [B, 1, N - prefix, N]."""
    prefix = query.shape[2] - attention_mask.shape[2]
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    clip = attend(query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], is_causal=True, scale=scaling)
    asked = attend(query[:, :, prefix:], key, value, attn_mask=attention_mask, scale=scaling)
    return torch.cat([clip, asked], dim=2).transpose(1, 2).contiguous(), None


def picture_attention(_module, query, key, value, _mask=None, scaling=None, **_):
    """Attention of the vision tower, where every patch sees every patch of its frame. query [B, H, N, d]."""
    return attend(query, key, value, scale=scaling).transpose(1, 2).contiguous(), None


def attend(query, key, value, **options) -> torch.Tensor:
    """Stock attention, on a CPU in float32: there, bfloat16 speeds up the products around it, and slows down this one."""
    if query.device.type != "cpu":
        return scaled_dot_product_attention(query, key, value, **options)
    with torch.autocast("cpu", enabled=False):
        return scaled_dot_product_attention(query.float(), key.float(), value.float(), **options)


def use_packed_attention(model) -> None:
    """Switch a model's language part to `packed_attention` and its tower to `picture_attention`, for training and packed evaluation."""
    AttentionInterface.register("shapes_packed", packed_attention)
    AttentionInterface.register("shapes_picture", picture_attention)
    AttentionMaskInterface.register("shapes_packed", lambda *args, attention_mask=None, **kwargs: attention_mask)
    model.model.language_model.config._attn_implementation = "shapes_packed"
    model.model.vision_tower.config._attn_implementation = "shapes_picture"
