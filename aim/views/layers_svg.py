"""The tokens of each layer as one inline SVG, for pages that cannot bring a plotting library along."""

from __future__ import annotations

from aim.views.look import PLANNED, TEXT, VISUAL

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 240, 72, 44, 10  # units of the view box


def layers_svg(executed: list[tuple[int, int]], planned: list[tuple[int, int]] | None = None) -> str:
    """Stacked bars of the (visual, text) tokens each layer ran on, their numbers as tooltips, and the planned sum as a dotted line.

    Raises:
        ValueError: no layers.
    """
    if not executed:
        raise ValueError("There are no layers to draw. Pass tokens_per_layer of a finished run.")
    highest = max(sum(pair) for pair in [*executed, *(planned or [])]) or 1
    step, deep = (WIDTH - LEFT) / len(executed), HEIGHT - BOTTOM - TOP

    def y(tokens: float) -> str:
        return f"{TOP + deep * (1 - tokens / highest):.1f}"

    def bar(x: float, low: int, count: int, fill: str) -> str:
        return f'<rect x="{x:.1f}" width="{0.76 * step:.1f}" y="{y(low + count)}" height="{deep * count / highest:.1f}" fill="{fill}"/>'

    parts = []
    for tokens in (0, highest / 2, highest):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(tokens)}" y2="{y(tokens)}" stroke="currentColor" stroke-opacity="0.2"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tokens)}" dy="0.35em" text-anchor="end">{tokens:,.0f}</text>')
    every = -(-len(executed) // 14)
    for layer, (visual, text) in enumerate(executed):
        x = LEFT + (layer + 0.12) * step
        bars = bar(x, 0, visual, VISUAL) + bar(x, visual, text, TEXT)
        parts.append(f"<g><title>layer {layer}: {visual:,} visual and {text:,} text tokens</title>{bars}</g>")
        if layer % every == 0:
            parts.append(f'<text x="{x + 0.38 * step:.1f}" y="{HEIGHT - BOTTOM}" dy="1.1em" text-anchor="middle">{layer}</text>')
    if planned:
        corners = " ".join(f"H{LEFT + layer * step:.1f} V{y(sum(pair))}" for layer, pair in enumerate(planned))
        path = f"M{LEFT} {y(sum(planned[0]))} {corners} H{WIDTH}"
        parts.append(f'<path d="{path}" fill="none" stroke="{PLANNED}" stroke-width="2" stroke-dasharray="2 3"/>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">layer of the language model</text>')
    return (
        f'<svg class="aim-layers" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Tokens in each layer" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )
