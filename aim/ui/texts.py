"""The words of the page that are more than a label."""

from __future__ import annotations

from html import escape

HEADER = """<header class="aim-header"><h1>AIM Explorer</h1>
<p>Which visual tokens does a video language model really need? Ask about a clip, merge and prune its tokens with
<a href="https://arxiv.org/abs/2412.03248" target="_blank" rel="noopener">AIM</a>, and see where they went.</p></header>"""

BUNDLED = """<div class="aim-note"><b>A tiny model answers here</b> (2.8 M parameters), trained by this project on synthetic clips of moving
shapes: one word about colour, shape, direction, when, count, size, or whether something is there;
weakest at direction and when. For real videos start with <code>AIM_MODEL=llava-hf/llava-onevision-qwen2-0.5b-ov-hf</code>.</div>"""

KNOBS = """<p class="aim-help">Before the language model, similar patches are merged until the share <b>merge ratio</b> of the
visual tokens is left.
Inside it, layers 0…<b>l1</b>-1 see all merged tokens; from l1 on the least important ones are dropped layer by layer; from layer
<b>l2</b>-1 on there are none. With l1 = 0 dropping starts at layer 1, because nothing is scored before layer 0.</p>"""

PLACEHOLDER = """<div class="aim-empty"><p><b>After a run you see here</b></p><ul>
<li><b>the frames</b>, with the patches that became one token drawn as one region</li>
<li><b>the layers</b>, with the tokens each one really ran on and how important they were</li>
<li><b>the figures</b>: tokens, cost, and measured time</li></ul></div>"""


def model_line(vlm) -> str:
    """Which model answers, and where it runs."""
    name = "the bundled shapes model" if vlm.is_bundled else vlm.name
    dtype = str(vlm.dtype).removeprefix("torch.")
    facts = (name, f"{vlm.num_layers} layers", f"{vlm.tokens_per_frame} visual tokens a frame", f"{vlm.device} {dtype}")
    return f'<div class="aim-model">{" · ".join(escape(str(fact)) for fact in facts)}</div>'
