"""How each method's line looks, in charts and in the legend beside them.

Two methods differ in the dashes of their lines or in the markers on them, whatever their colours, so that nobody has to tell colours apart.
A method looks the same wherever it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from aim.methods import COMPARABLE, Full
from aim.views.look import LINES, PLANNED

COLOURS = tuple(colour for colour in LINES if colour != PLANNED)
# Pixels of line and gap in turn, as plotly and SVG both take them; "" is a solid line. Their number and that of the markers have no common
# divisor, so that all pairs of the two come up before the first one does again.
DASHES = ("", "9,4", "2,3", "9,3,2,3", "16,4")
# Plotly's markers, and their outlines in a square from -1 to 1.
MARKERS = {
    "circle": "M-.8 0A.8 .8 0 1 1 .8 0A.8 .8 0 1 1 -.8 0Z",
    "diamond": "M0-1L1 0L0 1L-1 0Z",
    "square": "M-.75-.75H.75V.75H-.75Z",
    "triangle-up": "M0-.9L1 .8H-1Z",
    "x": "M-.8-.45L-.45-.8L0-.35L.45-.8L.8-.45L.35 0L.8 .45L.45 .8L0 .35L-.45 .8L-.8 .45L-.35 0Z",
    "triangle-down": "M0 .9L1-.8H-1Z",
    "cross": "M-.3-.9H.3V-.3H.9V.3H.3V.9H-.3V.3H-.9V-.3H-.3Z",
}
STAR = "M0-1L.26-.3H1L.4 .15L.6 .9L0 .45L-.6 .9L-.4 .15L-1-.3H-.26Z"


@dataclass(frozen=True)
class LineStyle:
    """A colour, dashes as in `DASHES`, and a marker with its outline."""

    colour: str
    dash: str
    marker: str
    outline: str

    @property
    def plotly_dash(self) -> str:
        """The dashes as plotly takes them."""
        return self.dash.replace(",", "px,") + "px" if self.dash else "solid"

    def swatch(self) -> str:
        """A short piece of the line with its marker, as inline SVG."""
        dashes = f' stroke-dasharray="{self.dash}"' if self.dash else ""
        return (
            '<svg class="aim-swatch" width="40" height="12" viewBox="0 0 40 12" aria-hidden="true">'
            f'<path d="M0 6H40" fill="none" stroke="{self.colour}" stroke-width="2.5"{dashes}/>'
            f'<path d="{self.outline}" transform="translate(20 6) scale(5)" fill="{self.colour}"/></svg>'
        )


FULL = LineStyle(PLANNED, "", "star", STAR)
_PLACES = {name: place for place, name in enumerate(name for name in COMPARABLE if name != Full.name)}


def style_of(name: str) -> LineStyle:
    """The style of a method by its key in `COMPARABLE`. The full model is grey, and so is what is not there."""
    if name not in _PLACES:
        return FULL
    place = _PLACES[name]
    marker = list(MARKERS)[place % len(MARKERS)]
    colour = COLOURS[(place + place // len(COLOURS)) % len(COLOURS)]  # shifted from round to round, so that a marker changes its colour
    return LineStyle(colour, DASHES[place % len(DASHES)], marker, MARKERS[marker])
