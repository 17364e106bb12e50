"""The words of the page that are more than a label."""

from __future__ import annotations

from html import escape
from pathlib import Path

from aim.families import FAMILIES
from aim.runtime.fitting import fitting, memory
from aim.runtime.precision import told_of
from aim.video.intake.limits import LIMITS

HEADER = """<header class="aim-header"><h1>AIM Explorer</h1>
<p><span>A video language model cuts each frame into patches and reads each patch as a token.
<a href="https://arxiv.org/abs/2412.03248" target="_blank" rel="noopener">AIM</a> merges patches that look alike, then drops the tokens that
get little attention. How few tokens does the model need?</span> Lower <b>Tokens kept</b> until the answer
changes.</p></header>"""

KNOBS = """<p class="aim-help">Similar patches are merged before the language model. The <b>merge ratio</b> is the share of tokens kept
after merging. All merged tokens pass through the layers before <b>l1</b>. From layer l1 on, every layer drops the least important ones.
No visual token is left from layer <b>l2</b> − 1 on. With l1 = 0 dropping starts at layer 1, because nothing is scored before
layer 0.</p>"""


TOWER = """The <b>vision tower</b> turns each frame into patches before AIM begins. AIM makes it no cheaper, but these two settings do.
They are off at first. The full model, with which answers are compared, always has the full tower."""


def notice(text: str) -> str:
    """A remark above everything else."""
    return f'<div class="aim-note aim-warning" role="note">{escape(text)}</div>'


def model_note(vlm) -> str:
    """Which model answers, where it runs, and which videos it takes. For the bundled one also what it knows."""
    known = _bundled_note(vlm) if vlm.is_bundled else ""
    told = "A tiny model answers here. It knows only moving coloured shapes." if vlm.is_bundled else public_name(vlm.name)
    return (
        f'<details class="aim-about"><summary>{escape(told)} <u>About it, and what you can upload</u></summary>'
        f"{known}{model_line(vlm)}{limits()}</details>"
    )


def _bundled_note(vlm) -> str:
    *most, last = (family.title for family in FAMILIES.values())
    way = (
        "choose one under <b>Model</b> below"
        if vlm.choosable
        else f"start the app with one, for example <code>AIM_MODEL={escape(_example(vlm))} python app.py</code>"
    )
    return (
        '<p class="aim-help">Ask it about colour, shape, number, '
        "the largest one, whether something is there, which way it moves, when and in which order things come, what they become, or what "
        "flashes. It answers in one word. It knows nothing about real videos. Models of these families do: "
        f"{escape(', '.join(most))} and {escape(last)}. To ask one, {way}.</p>"
    )


def _example(vlm) -> str:
    """The largest known model that fits the memory here, or the smallest of all."""
    available = memory()
    fit = fitting(available, vlm.dtype.itemsize) if available else []
    return fit[-1] if fit else fitting(10**15, 2)[0]


def limits() -> str:
    """What a video may be."""
    return f'<p class="aim-help">{escape(LIMITS)} A picture may be a JPEG, PNG, WebP or BMP file. It is asked about as one frame.</p>'


def public_name(name: str) -> str:
    """A model's name as visitors may see it. Of a folder on the host it is only the last part."""
    return Path(name).name if Path(name).is_absolute() else name


def called(name: str) -> str:
    """What a model is called in a sentence for visitors."""
    return "the bundled shapes model" if name == "bundled" else public_name(name)


def model_line(vlm) -> str:
    """Name, depth, tokens a frame, device."""
    name = called(vlm.name)
    pair = vlm.grid(2)  # some models take frames two by two
    tokens = f"{pair.tokens_per_frame} visual tokens {'a frame' if pair.frames == 2 else 'for 2 frames'}"
    facts = (name, f"{vlm.num_layers} layers", tokens, told_of(vlm.device, vlm.dtype))
    return f'<div class="aim-model">{" · ".join(escape(str(fact)) for fact in facts)}</div>'
