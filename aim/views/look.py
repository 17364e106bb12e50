"""What all charts share: colours that show on light and dark grounds, and the layout of a chart."""

from __future__ import annotations

# Okabe and Ito's colours, distinguishable with any colour vision, on light and dark grounds alike.
VISUAL, TEXT, PLANNED, SCORE = "#3d8fd1", "#e69f00", "#8a8f98", "#d55e9c"
# For lines whose colour has no meaning of its own, taken in this order; their marks differ too.
LINES = (VISUAL, TEXT, "#2a9d7f", SCORE, PLANNED, "#b05a2c", "#7a6fd0", "#56b4e9")
MARKS = ("circle", "diamond", "square", "triangle-up", "x", "cross")
CLEAR, GRID = "rgba(0,0,0,0)", "rgba(128,128,128,0.25)"
TOOLS = ["zoom", "pan", "select", "lasso", "zoomin", "zoomout", "autoscale", "resetscale"]


def layout(height: int, **more) -> dict:
    """A plotly layout `height` pixels high on the page's own ground, its legend above; `more` adds to it or replaces parts of it."""
    return {
        "template": "none",
        "height": height,
        "margin": {"l": 64, "r": 12, "t": 56, "b": 48},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "hoverlabel": {"bgcolor": "#1f2430", "font": {"color": "#ffffff"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "modebar": {"bgcolor": CLEAR, "color": PLANNED, "activecolor": VISUAL, "remove": TOOLS},
        **more,
    }
