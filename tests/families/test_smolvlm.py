"""SmolVLM2's prompt for a clip, against what its own processor writes."""

from types import SimpleNamespace

import pytest
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor

from aim.families import FAMILIES
from aim.families.smolvlm import in_words
from aim.kernels.grid import Grid

NUMBERS = {0: "zero", 1: "one", 13: "thirteen", 20: "twenty", 32: "thirty-two", 64: "sixty-four", 99: "ninety-nine"}
NUMBERS |= {100: "one hundred", 101: "one hundred and one", 128: "one hundred and twenty-eight", 999: "nine hundred and ninety-nine"}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_of_frames_is_written_as_num2words_writes_it(number):
    assert in_words(number) == NUMBERS[number]


@pytest.mark.parametrize("times", [[0.0, 0.9, 61.5], [59.99, 60.0, 3725.2], [7.0]])
def test_a_clip_is_written_as_the_processor_writes_one_whose_length_is_not_known(times, monkeypatch):
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", NUMBERS.get, raising=False)
    monkeypatch.setitem(NUMBERS, 3, "three")
    processor = SmolVLMProcessor.__new__(SmolVLMProcessor)
    processor.image_seq_len, processor.image_token = 25, "<image>"
    processor.fake_image_token, processor.global_image_token = "<fake_token_around_image>", "<global-img>"
    metadata = SimpleNamespace(fps=1.0, timestamps=times, duration=None)
    video = {"pixel_values": SimpleNamespace(shape=(1, len(times))), "video_metadata": [metadata]}
    written = SmolVLMProcessor.replace_video_token(processor, video, 0)
    parts = FAMILIES["smolvlm"].prompt(Grid(len(times), 5, 5), times)
    assert "".join(part if isinstance(part, str) else "<image>" * part for part in parts) == " " + written
