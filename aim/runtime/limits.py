"""Limits and choices that several rooms share. They are plain values, which take no time to import.

The limits of a video file stand in `aim.video.intake.limits`.
"""

MAX_QUESTION = 2000  # characters
MAX_NEW_TOKENS = 512  # of an answer that the app gives
MAX_FRAMES_OFFERED = 64  # by the page, even where a model's context has room for more
TYPICAL_TEXT_TOKENS = 20  # assumed for a prompt that has no question yet; the paper's number is `aim.methods.published.PAPER_TEXT_TOKENS`
MAX_PREFILLS = 24  # of a search for a setting, unless the caller says otherwise

# How the LLM's matrices may be quantised on loading: name → what transformers' `BitsAndBytesConfig` is given for it.
QUANTIZATIONS: dict[str, dict] = {
    "8bit": {"load_in_8bit": True},
    "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}
