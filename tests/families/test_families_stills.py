"""A single picture through every family's own image prompt: ids and pixel values are those of its official processor for the whole view."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import InternVLProcessor, LlavaOnevisionProcessor, LlavaProcessor, Qwen2_5_VLProcessor, Qwen2VLProcessor, Qwen3VLProcessor
from transformers.models.exaone4_5.processing_exaone4_5 import Exaone4_5_Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.gemma4.processing_gemma4 import Gemma4Processor
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.glm4v.processing_glm4v import Glm4vProcessor
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil
from transformers.models.glm46v.processing_glm46v import Glm46VProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
from transformers.models.minicpmv4_6.processing_minicpmv4_6 import MiniCPMV4_6Processor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor
from transformers.models.step3p7.processing_step3p7 import Step3p7Processor
from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import VideoLlama3ImageProcessorPil
from transformers.models.video_llama_3.processing_video_llama_3 import VideoLlama3Processor

import aim
from aim.families import FAMILIES
from aim.families.qwen2_vl import MAX_IMAGE_PIXELS
from aim.kernels.refusal import Refusal
from aim.video.clip import clip_from_frames
from tests.tiny import FEWER, TINY
from tests.tiny_checkpoints import COMMON, FOLDERS, QWEN3_PICTURES, SQUARE, build_tokenizer, save_checkpoint

QUESTION = "what is it?"
PIXELS = np.random.default_rng(0).integers(0, 256, (36, 60, 3), np.uint8)
INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
    "start_image_token_id": 95,
    "end_image_token_id": 96,
    "context_image_token_id": 97,
    "video_token_id": 98,
}


try:
    from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import Qwen3OmniMoeProcessor
except ImportError:  # releases in which it needs torchvision
    Qwen3OmniMoeProcessor = None
try:
    from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor
except ImportError:  # releases in which it needs torchvision
    Qwen2_5OmniProcessor = None
MINICPM_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_token_id": 97,
    "video_token_id": 98,
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<92>",
    "slice_end_token": "<93>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}

# It only writes the number of a clip's frames, and is asked for even where there is no clip.
processing_smolvlm.num2words = processing_smolvlm.num2words or str


def processor_of(name: str):
    """The family's official processor with the tiny checkpoint's settings. Its video half, which needs torchvision, is left out."""
    settings, qwen3 = next(iter(FOLDERS[name][2].values())), ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
    qwen = Qwen2VLImageProcessorPil(**COMMON, min_pixels=64, max_pixels=12845056, patch_size=4, temporal_patch_size=2, merge_size=2)
    kind, images, further = {
        "llava": (
            LlavaProcessor,
            LlavaImageProcessorPil(**settings) if name == "llava" else None,
            {"patch_size": 4, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        ),
        "llava_onevision": (
            LlavaOnevisionProcessor,
            LlavaOnevisionImageProcessorPil(**SQUARE, image_grid_pinpoints=[[40, 40]]),
            {"num_image_tokens": 100, "vision_feature_select_strategy": "full"},
        ),
        "qwen2_vl": (Qwen2VLProcessor, qwen, {}),
        "qwen2_5_vl": (Qwen2_5_VLProcessor, qwen, {}),
        **dict.fromkeys(qwen3, (Qwen3VLProcessor, qwen, {})),
        "exaone4_5": (Exaone4_5_Processor, qwen, {}),
        "qwen2_5_omni_thinker": (Qwen2_5OmniProcessor, qwen, {"feature_extractor": None}),
        "qwen3_omni_moe_thinker": (Qwen3OmniMoeProcessor, qwen, {"feature_extractor": None}),
        "internvl": (InternVLProcessor, GotOcr2ImageProcessorPil(**SQUARE), {"image_seq_length": 25}),
        "gemma3": (Gemma3Processor, Gemma3ImageProcessorPil(**settings) if name == "gemma3" else None, {"image_seq_length": 25}),
        "gemma4": (Gemma4Processor, Gemma4ImageProcessorPil(patch_size=4, pooling_kernel_size=2), {}),
        "glm4v": (Glm4vProcessor, Glm4vImageProcessorPil(**QWEN3_PICTURES, patch_size=4), {}),
        "glm4v_moe": (Glm4vProcessor, Glm4vImageProcessorPil(**QWEN3_PICTURES, patch_size=4), {}),
        "glm46v": (Glm46VProcessor, Glm46VImageProcessorPil(**QWEN3_PICTURES, patch_size=4), {}),
        "video_llama_3": (VideoLlama3Processor, VideoLlama3ImageProcessorPil(**QWEN3_PICTURES, patch_size=4, merge_size=1), {}),
        "smolvlm": (SmolVLMProcessor, SmolVLMImageProcessorPil(**settings) if name == "smolvlm" else None, {"image_seq_len": 25}),
        "minicpmv4_6": (MiniCPMV4_6Processor, MiniCPMV4_6ImageProcessorPil(**COMMON, scale_resolution=96, patch_size=4), {}),
    }[name]
    tokenizer = build_tokenizer(FOLDERS[name][1])
    if name == "gemma3":
        for token, value in {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}.items():
            setattr(tokenizer, token, value)
        tokenizer.boi_token_id, tokenizer.image_token_id = 95, 97
    if name == "gemma4":
        for token, value in {"boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>"}.items():
            setattr(tokenizer, token, value)
        tokenizer.image_token_id, tokenizer.audio_token, tokenizer.boa_token, tokenizer.eoa_token = 97, "<93>", "<93>", "<93>"
    if name in ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"):
        for token in ("audio_token", "vision_bos_token", "vision_eos_token", "audio_bos_token", "audio_eos_token"):
            setattr(tokenizer, token, "<92>")
        tokenizer.image_token, tokenizer.video_token = (FOLDERS[name][1][number] for number in (97, 98))
        tokenizer.image_token_id, tokenizer.video_token_id, tokenizer.audio_token_id = 97, 98, 91
    for token, value in {"internvl": INTERNVL_TOKENS, "minicpmv4_6": MINICPM_TOKENS}.get(name, {}).items():
        setattr(tokenizer, token, value)
    processor = kind.__new__(kind)
    processor.check_argument_for_proper_class = lambda *_given: None
    if kind is Gemma4Processor:
        further = {"feature_extractor": None}
    processor.__init__(
        image_processor=images,
        tokenizer=tokenizer,
        **({} if kind in (LlavaProcessor, Gemma3Processor) else {"video_processor": images if name == "minicpmv4_6" else None}),
        chat_template=FOLDERS[name][0],
        **further,
    )
    if name == "smolvlm":
        processor.video_processor = SimpleNamespace(num_frames=None, fps=None)
    if name in ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"):
        processor.video_processor = SimpleNamespace(merge_size=2)  # which 5.21 reads even where there is no clip
    return processor


def perception_lm() -> dict[str, torch.Tensor]:
    """The same by hand. Its image processor needs torchvision."""
    turn, picture = "<|start_header_id|>%s<|end_header_id|>\n\n", Image.fromarray(PIXELS)
    text = turn % "user" + "<|image|>" * 25 + f"{QUESTION}<|eot_id|>" + turn % "assistant"
    ids = build_tokenizer(FOLDERS["perception_lm"][1])(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    pixels = GotOcr2ImageProcessorPil(**SQUARE, crop_to_patches=False)(picture, return_tensors="pt")["pixel_values"]
    return {"input_ids": ids, "pixel_values": pixels[None]}


def step3p7() -> dict[str, torch.Tensor]:
    """The same, and the markers by its processor."""
    markers = SimpleNamespace(image_feature_placeholder="<im_patch>" * 25)
    placed = Step3p7Processor.replace_image_token(markers, {"num_local_patches": [0]}, 0)
    text = f"<|im_start|>user\n{placed}{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n"
    ids = build_tokenizer(FOLDERS["step3p7"][1])(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    settings = FOLDERS["step3p7"][2]["preprocessor_config.json"]
    processor = GotOcr2ImageProcessorPil(**settings, crop_to_patches=False)
    return {"input_ids": ids, "pixel_values": processor(Image.fromarray(PIXELS), return_tensors="pt")["pixel_values"]}


def granite4_vision() -> dict[str, torch.Tensor]:
    """The whole view that its image processor puts in front of the tiles, and the newline's placeholder behind it."""
    text = f"<|start_of_role|>user<|end_of_role|>{'<image>' * 26}\n{QUESTION}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
    ids = build_tokenizer(FOLDERS["granite4_vision"][1])(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    settings = FOLDERS["granite4_vision"][2]["preprocessor_config.json"]
    made = LlavaNextImageProcessorPil(**settings, image_grid_pinpoints=[[40, 80]])(Image.fromarray(PIXELS), return_tensors="pt")
    assert made["pixel_values"].shape[1] == 3
    return {"input_ids": ids, "pixel_values": made["pixel_values"][:, 0], "image_sizes": made["image_sizes"]}


BY_HAND = {"perception_lm": perception_lm, "step3p7": step3p7, "granite4_vision": granite4_vision}


def official(name: str) -> dict[str, torch.Tensor]:
    """What the processor makes of the question and the picture, in its whole view."""
    if name in BY_HAND:
        return BY_HAND[name]()
    processor, picture = processor_of(name), Image.fromarray(PIXELS)
    count = 2 if name == "llava_onevision" else 1  # one of several images has no tiles
    content = [*[{"type": "image"}] * count, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, enable_thinking=False)
    options = {"internvl": {"crop_to_patches": False}, "smolvlm": {"do_image_splitting": False}}.get(name, {})
    made = processor(images=[[picture] * count], text=[text], return_tensors="pt", add_special_tokens=False, **options)
    made = {key: torch.as_tensor(np.asarray(value)) for key, value in made.items()}
    if count == 2:
        ids = made["input_ids"][0]
        second = int((ids == 97).nonzero().flatten()[101])
        made["input_ids"] = torch.cat([ids[:second], ids[second + 102 :]])[None]  # without the second image and the new line behind it
        del made["attention_mask"]
        # An image that is alone has its whole view in front of its tiles; one of several is padded to a square.
        alone = processor.image_processor(picture, return_tensors="pt")
        made["pixel_values"], made["image_sizes"] = alone["pixel_values"][:, :1], alone["image_sizes"]
    return made


@pytest.fixture(scope="module", params=[family for family in FEWER if FAMILIES[family.values[0]].for_images])
def vlm(request, tmp_path_factory):
    return aim.load(save_checkpoint(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def picture():
    return aim.image_from_pixels(PIXELS)


def test_prompt_and_pixels_are_the_official_processors_and_the_answer_is_stock_generates(vlm, picture):
    name = vlm.model.config.model_type
    expected = official(name)
    taking = vlm.checkpoint.taking(is_image=True)
    pixels = taking.family.pixel_values(vlm.model.config, picture.frames, taking.pictures)
    others = {"input_ids", "attention_mask", "mm_token_type_ids", "batch_num_images", "pixel_attention_mask", "token_type_ids"}
    others |= {"grids", "num_patches_per_image"} | ({"image_sizes"} if name == "granite4_vision" else set())
    assert pixels.keys() == expected.keys() - others
    for key, value in pixels.items():
        # Gemma 4's processor pads, and ours does not.
        official_value = expected[key][:, : value.shape[1]] if value.dim() > 1 else expected[key]
        torch.testing.assert_close(value, official_value.to(value.dtype), rtol=0, atol=1e-5)
    with vlm.encoded(picture) as encoded:
        inputs = vlm.inputs(QUESTION, encoded)
    assert inputs["input_ids"].tolist() == expected["input_ids"].tolist()
    if "mm_token_type_ids" in inputs:
        assert inputs["mm_token_type_ids"].tolist() == expected["mm_token_type_ids"].tolist()
    answer = vlm.ask(picture, QUESTION, aim.Full(), max_new_tokens=12)
    with torch.no_grad():
        stock = vlm.model.generate(**expected, max_new_tokens=12, do_sample=False)
    length = expected["input_ids"].shape[1]
    # By words, because transformers' streamer decodes line by line, and this tokenizer drops the space in front of a line's first word.
    assert answer.text.split() == vlm.checkpoint.tokenizer.decode(stock[0, length:], skip_special_tokens=True).split()
    grid, trace = vlm.grid_of(picture), answer.trace
    assert (trace.frames, trace.rows, trace.columns) == (1, grid.rows, grid.columns)
    assert sum(trace.tokens_per_layer[0]) == length


@pytest.mark.parametrize("method", [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.PruMerge(), aim.Mask(mask_places=(0, 5))], ids=str)
def test_a_picture_is_reduced_as_planned(vlm, picture, method):
    answer, grid = vlm.ask(picture, QUESTION, method, max_new_tokens=3, words=True), vlm.grid_of(picture)
    assert answer.trace.merged_tokens < answer.trace.visual_tokens == grid.tokens
    layer = next(layer for layer, row in enumerate(answer.trace.attention[0]) if row is not None)
    assert answer.words[0].looked_at(answer.trace, layer).shape == (1, grid.tokens)
    if method.name != "prumerge":
        planned = vlm.plan(1, vlm.text_tokens(QUESTION, grid=grid), method, grid)
        assert planned.tokens_per_layer == answer.trace.tokens_per_layer
        assert planned.vision_tflops == answer.cost["vision_tflops"]


def test_a_picture_and_a_clip_of_one_frame_are_told_apart(vlm, picture):
    clip = clip_from_frames(PIXELS[None], 1.0)
    assert picture.digest != clip.digest
    vlm.features.clear()
    assert not vlm.ask(picture, QUESTION, max_new_tokens=1).features_reused
    assert not vlm.ask(clip, QUESTION, max_new_tokens=1).features_reused
    assert vlm.ask(picture, "and now?", max_new_tokens=1).features_reused


def test_it_is_told_where_tiles_are_left_out_and_only_there(vlm, picture):
    tiled = vlm.model.config.model_type in ("llava_onevision", "internvl", "smolvlm", "minicpmv4_6", "perception_lm", "step3p7")
    tiled |= vlm.model.config.model_type == "granite4_vision"
    assert ("in tiles" in vlm.ask(picture, QUESTION, max_new_tokens=1).note) == tiled
    assert vlm.ask(clip_from_frames(PIXELS[None], 1.0), QUESTION, max_new_tokens=1).note == ""


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_a_huge_picture_is_bounded_where_a_family_takes_any_size(name):
    entry, config = FAMILIES[name].taking(is_image=True), TINY[name].model().config
    for settings in ({}, {"min_pixels": 64, "max_pixels": 12845056}):
        grid = entry.grid(config, settings, 1, 3000, 4000)
        assert 0.9 * MAX_IMAGE_PIXELS < grid.tokens * 8 * 8 <= MAX_IMAGE_PIXELS  # a token of the tiny tower is 8 x 8 pixels


def test_a_family_without_pictures_refuses_them_in_a_sentence(vlm, picture, monkeypatch):
    without = replace(vlm.checkpoint, family=replace(vlm.checkpoint.family, for_images=None))
    monkeypatch.setattr(vlm, "checkpoint", without)
    monkeypatch.setattr(vlm.features, "checkpoint", without)
    other = aim.image_from_pixels(255 - PIXELS)
    for ask in (
        lambda: vlm.ask(picture, QUESTION),
        lambda: vlm.grid_of(picture),
        lambda: vlm.features.of(other),
    ):
        with pytest.raises(Refusal, match="takes only clips here, not single pictures"):
            ask()
