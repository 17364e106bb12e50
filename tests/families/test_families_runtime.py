"""A checkpoint of every family, saved as the Hub has it, loaded and asked about a clip; the prompt is written out here letter by letter."""

import numpy as np
import pytest
import torch

import aim
from aim.runtime.precision import is_finite
from aim.video.clip import clip_from_frames
from tests.tiny import EACH, IMAGE, TINY
from tests.tiny_checkpoints import END, FOLDERS, START, build_tokenizer, save_checkpoint

QUESTION = "what is it?"
FRAMES = 5
STEPS = {name: 3 for name in TINY if TINY[name].step == 2}


def expected_prompt(name):
    """The text before tokenizing, every placeholder spelled out."""
    chat = f"{START}user\n%s{QUESTION}{END}\n{START}assistant\n"
    if name == "llava":
        return "USER: " + "\n".join(["<image>" * 25] * FRAMES) + f"\n{QUESTION} ASSISTANT:"
    if name == "llava_next_video":
        return f"USER: {'<video>' * (25 * FRAMES)}\n{QUESTION} ASSISTANT:"
    if name == "llava_onevision":
        return f"{START}user {'<video>' * (25 * FRAMES + 1)}\n{QUESTION}{END}{START}assistant\n"
    if name == "internvl":
        frames = (f"Frame{number}: <img>{'<IMG_CONTEXT>' * 25}</img>" for number in range(1, FRAMES + 1))
        return chat % ("\n".join(frames) + "\n")
    if name == "gemma3":
        one = f"\n\n<start_of_image>{'<image_soft_token>' * 25}<end_of_image>\n\n"
        return f"{START}user\n{one * FRAMES}{QUESTION}{END}\n{START}model\n"
    if name == "gemma4":
        # Four frames a second, each of 6 x 10 tokens: 48 x 80 pixels are the most that 70 tokens of 8 x 8 hold.
        times = ["00:00"] * 4 + ["00:01"]
        frames = " ".join(f"{time} <|image>{'<|video|>' * 60}<image|>" for time in times)
        return f"{START}user\n\n\n{frames}\n\n{QUESTION}{END}\n{START}model\n"
    if name == "smolvlm":
        one = f"<fake_token_around_image><global-img>{'<image>' * 25}<fake_token_around_image>"
        said = " You are provided the following series of five frames from a 0:00:01 [H:MM:SS] video.\n"
        frames = "".join(f"\nFrame from 00:0{second}:{one}" for second in (0, 0, 0, 0, 1))  # four frames a second
        return f"{START}User:{said}{frames}\n\n{QUESTION}{END}\nAssistant:"
    tokens = 3 * 4 * 8  # 36 x 60 pixels are 4.5 x 7.5 tokens of 8 x 8, rounded to even: three steps of 4 x 8
    if name == "perception_lm":
        turn = "<|start_header_id|>%s<|end_header_id|>\n\n"
        return turn % "user" + f"{'<|video|>' * (25 * FRAMES)}{QUESTION}<|eot_id|>" + turn % "assistant"
    if name == "granite4_vision":
        frames = "\n".join(["<image>" * 26] * FRAMES)
        return f"<|start_of_role|>user<|end_of_role|>{frames}\n{QUESTION}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
    if name == "step3p7":
        return chat % (f"<im_start>{'<im_patch>' * 25}<im_end>" * FRAMES) + "<think>\n"
    if name == "molmo2":
        # Four frames a second, and the last token stands in front, as the tokenizer has no first one.
        frames = " ".join(f"{time} <im_start>{'<im_patch>' * 25}<im_end>" for time in ("0.0", "0.2", "0.5", "0.8", "1.0"))
        return END + frames + chat % ""
    if name == "minicpmv4_6":
        frames = f"<image>{'<|video_pad|>' * 40}</image>" * FRAMES  # 96 pixels a side with 16 a token: 5 x 8
        return chat % f"<image_id>0</image_id>{frames}\n" + "<think>\n\n</think>\n\n"
    if name == "exaone4_5":
        return chat % f"<vision>{'<|video_pad|>' * tokens}</vision>" + "<think>\n\n</think>\n\n"
    if name == "qwen2_5_omni_thinker":
        return f"{START}system\nYou are a helpful assistant.{END}\n" + chat % f"<|vision_bos|>{'<|VIDEO|>' * tokens}<|vision_eos|>"
    if name == "qwen3_omni_moe_thinker":
        return chat % f"<|vision_start|>{'<|video_pad|>' * tokens}<|vision_end|>"
    if name.startswith("qwen3"):
        # Four frames a second: steps of the frames at 0 and 0.25, at 0.5 and 0.75, and at 1 twice.
        steps = (f"<{time} seconds><|vision_start|>{'<|video_pad|>' * (tokens // 3)}<|vision_end|>" for time in ("0.1", "0.6", "1.0"))
        thought = "<think>\n\n</think>\n\n" if name.startswith("qwen3_5") else ""  # none, so that it answers at once
        return chat % f"<|vision_start|>{''.join(steps)}<|vision_end|>" + thought
    if name == "video_llama_3":
        frames = ",".join(f"Time {frame / 4:.1f}s:{'<|video_pad|>' * 32}" for frame in range(FRAMES))
        return chat % f"{frames}\n"
    if name.startswith("glm"):
        times = ("0.0 seconds", "0.5 seconds", "1.0 seconds") if name == "glm46v" else ("0", "0", "1")
        steps = (f"<|begin_of_image|>{'<|image|>' * (tokens // 3)}<|end_of_image|>{time}" for time in times)
        return f"<|user|>\n<|begin_of_video|>{''.join(steps)}<|end_of_video|>{QUESTION}<|assistant|>\n"
    return f"{START}system\nYou are a helpful assistant.{END}\n" + chat % f"<|vision_start|>{'<|video_pad|>' * tokens}<|vision_end|>"


@pytest.fixture(scope="module", params=EACH)
def vlm(request, tmp_path_factory):
    return aim.load(save_checkpoint(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def clip():
    return clip_from_frames(np.random.default_rng(0).integers(0, 256, (FRAMES, 36, 60, 3), np.uint8), 4.0)


def name_of(vlm):
    return vlm.model.config.model_type


def test_an_answer_equals_stock_generate_on_the_prompt_written_out(vlm, clip):
    name, family = name_of(vlm), vlm.checkpoint.family
    answer = vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=20)
    ids = torch.tensor([build_tokenizer(FOLDERS[name][1])(expected_prompt(name), add_special_tokens=False)["input_ids"]])
    inputs = family.pixel_values(vlm.model.config, clip.frames, vlm.checkpoint.pictures)
    if family.token_types:
        inputs[family.token_types] = TINY[name].told_types(ids)
    if name == "qwen2_5_vl":
        inputs["second_per_grid_ts"] = [0.5]  # two frames of a quarter of a second
    if name in ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"):
        inputs["video_second_per_grid"] = torch.tensor([0.5])
    with torch.no_grad():
        stock = vlm.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs, max_new_tokens=20, do_sample=False)
    # By words, because transformers' streamer decodes line by line, and this tokenizer drops the space in front of a line's first word.
    assert answer.text.split() == vlm.checkpoint.tokenizer.decode(stock[0, ids.shape[1] :], skip_special_tokens=True).split()
    assert answer.trace.frames == STEPS.get(name, FRAMES)
    assert sum(answer.trace.tokens_per_layer[0]) == ids.shape[1]


@pytest.mark.parametrize("method", [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.METHODS["prumerge"]()], ids=lambda method: method.name)
def test_a_reduced_answer_runs_on_what_was_planned(vlm, clip, method):
    answer = vlm.ask(clip, QUESTION, method, max_new_tokens=8)
    grid = vlm.grid(FRAMES, 36, 60)
    assert (answer.trace.frames, answer.trace.rows, answer.trace.columns) == (grid.frames, grid.rows, grid.columns)
    assert answer.trace.merged_tokens < answer.trace.visual_tokens == grid.tokens
    assert 1 <= answer.new_tokens <= 8  # random weights may end their answer
    if method.name == "aim":
        planned = vlm.plan(FRAMES, answer.trace.tokens_per_layer[0][1], method, grid)
        assert planned.tokens_per_layer == answer.trace.tokens_per_layer
        assert planned.prefill_tflops == answer.cost["prefill_tflops"] and planned.vision_tflops == answer.cost["vision_tflops"]
        assert vlm.ask(clip, "and now?", method, max_new_tokens=1).features_reused


def test_text_tokens_are_what_the_prompt_holds_beside_patches(vlm, clip):
    answer = vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=1)
    assert vlm.text_tokens(QUESTION, FRAMES) == answer.trace.tokens_per_layer[0][1]


def test_markers_typed_into_a_question_are_no_placeholders(vlm, clip):
    marker = FOLDERS[name_of(vlm)][1][IMAGE]
    assert vlm.ask(clip, f"what {marker} is {marker} it?", max_new_tokens=1).trace.visual_tokens == vlm.grid(FRAMES, 36, 60).tokens


def test_frames_of_one_clip_at_another_rate_are_told_apart_by_seconds(vlm):
    frames = np.random.default_rng(1).integers(0, 256, (4, 36, 60, 3), np.uint8)
    clips = [clip_from_frames(frames, rate) for rate in (8.0, 0.5)]
    spread = [vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=1).trace.positions for clip in clips]
    words = [vlm.prompt_ids(QUESTION, vlm.grid(4, 36, 60), clip.timestamps.tolist()) for clip in clips]
    assert torch.equal(*spread) == (vlm.checkpoint.family.timing is None)
    in_words = vlm.checkpoint.family.timing is None and name_of(vlm) != "qwen2_vl"
    assert (words[0] == words[1]) == (
        not in_words or not name_of(vlm).startswith(("qwen3", "smolvlm", "gemma4", "glm", "video_llama", "molmo"))
    )


def test_the_check_of_float16_runs_the_whole_model(vlm):
    assert is_finite(vlm)
    parts = [module for name, module in vlm.model.model.named_children() if name != "audio_tower" and len(list(module.parameters()))]
    for layer in (vlm.model.get_output_embeddings(), *parts):
        value = next(layer.parameters())
        kept = value.data.clone()
        value.data.view(-1)[:] = float("inf")
        assert not is_finite(vlm)
        value.data.copy_(kept)
    assert is_finite(vlm)


def test_the_bundled_model_sees_features_after_its_towers_last_norm_on_every_release():
    """Its config asks for them, and transformers reads that since 5.18. The norm is written out here."""
    model = aim.load("bundled").model
    parts, tower, projector = model.model, model.model.vision_tower, model.model.multi_modal_projector
    frames = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        given = parts.get_image_features(frames[None], torch.tensor([[112, 112]]), batch_num_images=torch.tensor([2]), return_dict=True)
        encoded = tower.encoder(inputs_embeds=tower.embeddings(frames)).last_hidden_state
        norm = tower.post_layernorm
        deviations = encoded.var(-1, keepdim=True, unbiased=False).add(norm.eps).sqrt()
        normed = (encoded - encoded.mean(-1, keepdim=True)) / deviations * norm.weight + norm.bias
        expected, unnormed = projector(normed), projector(encoded)
    features = given.pooler_output[0][: expected.shape[1]]  # a newline follows
    assert torch.allclose(features, expected[0], atol=1e-4)
    assert not torch.allclose(unnormed[0], expected[0], atol=1e-1)
