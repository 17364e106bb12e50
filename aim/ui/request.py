"""What a visitor asks for, as plain values: one field a component, in the order the page passes them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from aim.methods import AIM
from aim.runtime.vlm import MAX_QUESTION


@dataclass(frozen=True)
class Request:
    """A question about a video, and every knob. See `aim.AIM` for what the knobs mean and accept."""

    video: str | None
    question: str | None
    merge_ratio: float
    l1: int
    l2: int
    num_frames: int
    temperature: float = 0.1
    iterations: int = 5
    damping: float = 0.0
    restart: str = "uniform"
    merge_window: int = 1
    positions: str = "compact"
    max_new_tokens: int = 64
    score_every_layer: bool = False
    compare: bool = False

    def method(self) -> AIM:
        """Raises ValueError when knobs contradict each other."""
        return AIM(
            merge_ratio=float(self.merge_ratio),
            l1=int(self.l1),
            l2=int(self.l2),
            positions=self.positions,
            temperature=float(self.temperature),
            iterations=int(self.iterations),
            damping=float(self.damping),
            restart=self.restart,
            merge_window=int(self.merge_window),
        )


FIELDS = tuple(item.name for item in fields(Request))
KNOBS = tuple(name for name in FIELDS if name not in ("video", "question"))


def check(request: Request, max_frames: int) -> None:
    """Raises ValueError, worded for the visitor, when something is missing or out of range."""
    if not request.video:
        raise ValueError("There is no video yet. Upload one or pick an example.")
    question = (request.question or "").strip()
    if not question:
        raise ValueError("There is no question yet. Type one, for example: what happens?")
    if len(question) > MAX_QUESTION:
        raise ValueError(f"The question has {len(question):,} characters; up to {MAX_QUESTION:,} are accepted. Please shorten it.")
    if not 1 <= request.num_frames <= max_frames:
        raise ValueError(f"{request.num_frames:,} frames were asked for; this model takes 1 to {max_frames}. Choose a number in between.")
    request.method()
