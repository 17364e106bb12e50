"""The words of the page that are more than a label."""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path

from aim.families import FAMILIES
from aim.runtime.fitting import fitting, memory
from aim.video.intake.limits import FORMATS_WITH_FFMPEG, LIMITS

HEADER = """<header class="aim-header"><h1>AIM Explorer</h1>
<p>Which visual tokens does a video language model really need?
<a href="https://arxiv.org/abs/2412.03248" target="_blank" rel="noopener">AIM</a> merges patches that look alike, then drops those
nobody attends to. See it happen on a clip, and what it saves.</p></header>"""

KNOBS = """<p class="aim-help">Before the language model, similar patches are merged until the share <b>merge ratio</b> of the visual
tokens is left. Inside it, layers 0…<b>l1</b>-1 see all merged tokens; from l1 on the least important are dropped layer by layer; from layer
<b>l2</b>-1 on there are none. With l1 = 0 dropping starts at layer 1, because nothing is scored before layer 0.</p>"""

PLACEHOLDER = """<div class="aim-empty"><p><b>After a run you see here</b></p><ul>
<li><b>Frames</b>: which patches became one token, which survived, and how important each was, layer by layer</li>
<li><b>Layers</b> and <b>Time</b>: how many tokens each layer ran on, and which moments they came from</li>
<li><b>Cost</b>: modelled FLOPs and measured time of every stage</li>
<li><b>Take away</b>: the record, a report, a picture, the code and a link</li></ul></div>"""

LAYERS = """<p class="aim-reading">Bars: tokens each layer really ran on, visual (blue) and text (orange); the dotted line was planned.<br>
Below: how PageRank, the importance that decides who is dropped, is spread over a layer's visual tokens. Hover for numbers.</p>"""

TAKE_AWAY = """<p class="aim-reading">The trace is the whole record; the report opens in any browser, offline, without this app.<br>
The code and the link give the same run again. A link to an uploaded video holds the question and the knobs, not the video.</p>"""


def notice(text: str) -> str:
    """A remark above everything else."""
    return f'<div class="aim-note aim-warning" role="note">{escape(text)}</div>'


def model_note(vlm) -> str:
    """Which model answers and where it runs; for the bundled one, what world it knows."""
    return (_bundled_note(vlm) if vlm.is_bundled else "") + model_line(vlm)


def _bundled_note(vlm) -> str:
    *most, last = (family.title for family in FAMILIES.values())
    return (
        '<div class="aim-note"><b>A tiny model answers here. Its world: moving coloured shapes.</b> One word about colour, '
        "shape, how many, which is largest, whether something is there, which way it moves, when and in which order things come, what "
        "they become, what flashes. It knows nothing about real videos: for those pick "
        f"{escape(', '.join(most))} or {escape(last)}, "
        f"for example <code>AIM_MODEL={escape(_example(vlm))} python app.py</code>.</div>"
    )


def _example(vlm) -> str:
    """The largest known model that fits the memory here, or the smallest of all."""
    available = memory()
    fit = fitting(available, vlm.dtype.itemsize) if available else []
    return fit[-1] if fit else fitting(10**15, 2)[0]


def limits() -> str:
    """What a video may be; GIF and TS only where ffmpeg is there to read them."""
    sentence = LIMITS if shutil.which("ffmpeg") else LIMITS.replace(f", {FORMATS_WITH_FFMPEG}", "")
    return f'<p class="aim-help">{escape(sentence)}</p>'


def public_name(name: str) -> str:
    """A model's name as visitors may see it: of a folder on the host only its last part."""
    return Path(name).name if Path(name).is_absolute() else name


def model_line(vlm) -> str:
    """Name, depth, tokens a frame, device."""
    name = "the bundled shapes model" if vlm.is_bundled else public_name(vlm.name)
    dtype = str(vlm.dtype).removeprefix("torch.")
    facts = (name, f"{vlm.num_layers} layers", f"{vlm.tokens_per_frame} visual tokens a frame", f"{vlm.device} {dtype}")
    return f'<div class="aim-model">{" · ".join(escape(str(fact)) for fact in facts)}</div>'
