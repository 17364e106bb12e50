"""The words of the page that are more than a label."""

from __future__ import annotations

from html import escape
from pathlib import Path

from aim.families import FAMILIES
from aim.runtime.fitting import fitting, memory
from aim.video.intake.limits import LIMITS

HEADER = """<header class="aim-header"><h1>AIM Explorer</h1>
<p>Which visual tokens does a video language model really need?
<a href="https://arxiv.org/abs/2412.03248" target="_blank" rel="noopener">AIM</a> merges patches that look alike. It then drops the tokens
that get the least attention. This page shows both on a clip, and what they save.</p></header>"""

KNOBS = """<p class="aim-help">Similar patches are merged before the language model. The <b>merge ratio</b> is the share of visual tokens
that is kept. All merged tokens pass through the layers before <b>l1</b>. From layer l1 on, every layer drops the least important ones.
No visual token is left from layer <b>l2</b> − 1 on. With l1 = 0 dropping starts at layer 1, because nothing is scored before
layer 0.</p>"""

PLACEHOLDER = """<div class="aim-empty"><p><b>After a run you see here</b></p><ul>
<li><b>Frames</b> shows which patches were merged, which tokens each layer kept, and how important they were.</li>
<li><b>Layers</b> shows how many tokens each layer ran on.</li>
<li><b>Moments</b> shows from which moments of the clip those tokens come.</li>
<li><b>Cost</b> shows modelled FLOPs and measured time of every stage.</li>
<li><b>Export</b> gives you the record, a report, a picture, the code and a link.</li></ul></div>"""


def notice(text: str) -> str:
    """A remark above everything else."""
    return f'<div class="aim-note aim-warning" role="note">{escape(text)}</div>'


def model_note(vlm) -> str:
    """Which model answers and where it runs. For the bundled one also what it knows."""
    return (_bundled_note(vlm) if vlm.is_bundled else "") + model_line(vlm)


def _bundled_note(vlm) -> str:
    *most, last = (family.title for family in FAMILIES.values())
    return (
        '<div class="aim-note"><b>A tiny model answers here. It knows only moving coloured shapes.</b> Ask it about colour, shape, number, '
        "the largest one, whether something is there, which way it moves, when and in which order things come, what they become, or what "
        "flashes. It answers in one word. It knows nothing about real videos. For those, pick "
        f"{escape(', '.join(most))} or {escape(last)}, "
        f"for example <code>AIM_MODEL={escape(_example(vlm))} python app.py</code>.</div>"
    )


def _example(vlm) -> str:
    """The largest known model that fits the memory here, or the smallest of all."""
    available = memory()
    fit = fitting(available, vlm.dtype.itemsize) if available else []
    return fit[-1] if fit else fitting(10**15, 2)[0]


def limits() -> str:
    """What a video may be."""
    return f'<p class="aim-help">{escape(LIMITS)}</p>'


def public_name(name: str) -> str:
    """A model's name as visitors may see it. Of a folder on the host it is only the last part."""
    return Path(name).name if Path(name).is_absolute() else name


def model_line(vlm) -> str:
    """Name, depth, tokens a frame, device."""
    name = "the bundled shapes model" if vlm.is_bundled else public_name(vlm.name)
    dtype = str(vlm.dtype).removeprefix("torch.")
    pair = vlm.grid(2)  # some models take frames two by two
    tokens = f"{pair.tokens_per_frame} visual tokens {'a frame' if pair.frames == 2 else 'for 2 frames'}"
    facts = (name, f"{vlm.num_layers} layers", tokens, f"{vlm.device} {dtype}")
    return f'<div class="aim-model">{" · ".join(escape(str(fact)) for fact in facts)}</div>'
