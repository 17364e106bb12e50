"""The seven findings: what the paper claims, and which settings of the bundled model put it to the test.

The paper's figures are VideoMME without subtitles, LLaVA-OneVision-7B, 32 frames (arXiv 2412.03248 and its ICCV poster); its layers, of 28,
are carried to the bundled model's 12. Settings are shared between findings wherever they are the same.
"""

from __future__ import annotations

from typing import Any

from aim.evaluation.controls import LastToken, RandomScore
from aim.evaluation.findings import AS_GOOD, BETTER, Check, Finding, Point
from aim.evaluation.settings import Setting
from aim.evaluation.summary import ALL
from aim.kernels.counts import share_of
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import merged_per_frame
from aim.methods import AIM, Full
from aim.planning.plan import plan_for, tokens_per_frame

LAYERS, FRAMES, NEEDLE = 12, 8, "needle"
OFF, RAMP = {"l1": 12, "l2": 13}, {"l1": 6, "l2": 9}  # nothing is dropped; the paper's 14 and 22 of 28
FULL = Setting(Full(), FRAMES)
TEXT_TOKENS = range(4, 65)  # of any prompt the benchmark makes, with room


def findings(config) -> list[Finding]:
    """All seven, for a model of the bundled architecture.

    Raises:
        Refusal: a model of another depth, whose layers these settings do not fit.
    """
    layers = config.text_config.num_hidden_layers
    if layers != LAYERS:
        raise Refusal(f"The model has {layers} layers; the findings are stated for the bundled model's {LAYERS}. Use --model bundled.")
    return [_retention(), _layers(), _more_frames(config), _scorers(), _windows(config), _positions(), _order(config)]


def _merged(ratio: float, frames: int = FRAMES, **knobs) -> Setting:
    """Merging without dropping, unless the knobs say otherwise."""
    return Setting(AIM(**{"merge_ratio": ratio, **OFF, **knobs}), frames)


def _percent(ratio: float) -> str:
    return f"{100 * ratio + 1e-6:.1f}".removesuffix(".0") + " %"  # halves up, as the paper rounds: 6.25 → 6.3


def _retention() -> Finding:
    ratios = (0.5, 0.25, 0.125, 0.0625, 0.03125)
    merged = {ratio: _merged(ratio) for ratio in ratios}
    dropped = {ratio: _merged(ratio, **RAMP) for ratio in (1.0, *ratios)}
    return Finding(
        number=1,
        title="Accuracy against retention",
        claim="Merging costs almost nothing down to 25 % of the tokens: 58.2 in full, 58.5 at 50 %, 58.0 at 25 %, and 58.2 with "
        "dropping on top. Below that, accuracy falls: 56.6 at 12.5 %, 53.6 at 6.3 %, 52.3 at 3.1 %.",
        axis="visual tokens kept by merging",
        points=[
            Point("merging only", "100 %", FULL),
            *(Point("merging only", _percent(ratio), setting) for ratio, setting in merged.items()),
            *(Point("merging and dropping (l1 6, l2 9)", _percent(ratio), setting) for ratio, setting in dropped.items()),
        ],
        checks=[
            Check("merged to 50 % against full", merged[0.5], FULL, AS_GOOD, told=True),
            Check("merged to 25 % against full", merged[0.25], FULL, AS_GOOD, told=True),
            Check("merged to 25 %, with dropping, against full", dropped[0.25], FULL, AS_GOOD, told=True),
            Check("25 % against 12.5 %", merged[0.25], merged[0.125], BETTER),
            Check("12.5 % against 6.3 %", merged[0.125], merged[0.0625], BETTER),
            Check("6.3 % against 3.1 %", merged[0.0625], merged[0.03125], BETTER),
        ],
    )


def _layers() -> Finding:
    pairs = ((9, 13), (6, 13), (3, 13), (9, 10), (6, 9), (3, 9), (6, 7), (3, 6), (3, 4))
    dropped = {pair: _merged(1.0, l1=pair[0], l2=pair[1]) for pair in pairs}
    return Finding(
        number=2,
        title="Early and late dropping",
        claim="Late layers do without visual tokens, early ones do not. The model has 28 layers, and scores 58.0 when merged to "
        "25 %. Dropping over layers 21 to 29 keeps 58.0, and over 14 to 22 it gives 58.2. Starting earlier lowers it to "
        "56.8 (7 to 22). Dropping all at once lowers it to 54.3 (14 to 15). Doing both lowers it to 41.9 (7 to 8).",
        axis="l1 → l2, nothing merged",
        lines=False,
        points=[
            Point("dropping only", "none", FULL),
            *(Point("dropping only", f"{l1} → {l2}", setting) for (l1, l2), setting in dropped.items()),
        ],
        checks=[
            Check("9 → 13 against full", dropped[9, 13], FULL, AS_GOOD, told=True),
            Check("6 → 9 against full", dropped[6, 9], FULL, AS_GOOD, told=True),
            Check("6 → 9 against 3 → 9 (starting earlier)", dropped[6, 9], dropped[3, 9], BETTER, told=True),
            Check("6 → 9 against 6 → 7 (all at once)", dropped[6, 9], dropped[6, 7], BETTER, told=True),
            Check("9 → 10 against 3 → 4 (early and at once)", dropped[9, 10], dropped[3, 4], BETTER),
        ],
    )


def _more_frames(config) -> Finding:
    counts = (16, 32, 64)
    reduced = {
        name: {frames: widest(config, frames, **knobs) for frames in counts}
        for name, knobs in (("merging only", OFF), ("merging and dropping", RAMP))
    }
    points = [Point("full model (costs more)", str(frames), Setting(Full(), frames)) for frames in (FRAMES, 16, 32)]
    points += [
        Point(f"{name}, cost of {FRAMES} full frames", str(frames), setting)
        for name, settings in reduced.items()
        for frames, setting in {FRAMES: FULL, **settings}.items()
    ]
    return Finding(
        number=3,
        title="Equal FLOPs, more frames",
        claim="For the prefill FLOPs of 32 full frames, 192 reduced frames give better answers: 59.2 against 58.2, and 69.3 "
        "against 64.7 on the long videos of MLVU.",
        axis="frames",
        points=points,
        checks=[
            Check(f"{name}, {frames} frames against {FRAMES} full, {kind}", setting, FULL, BETTER, kind, told=frames == 32)
            for kind in (NEEDLE, ALL)
            for name, settings in reduced.items()
            for frames, setting in settings.items()
        ],
        kinds=(NEEDLE, ALL),
    )


def _scorers() -> Finding:
    pairs = ((3, 6), (6, 9))
    scorers = {
        "PageRank": lambda **at: AIM(merge_ratio=1.0, **at),
        "PageRank, restart at the question": lambda **at: AIM(merge_ratio=1.0, restart="question", damping=0.15, **at),
        "last-token attention": lambda **at: LastToken(merge_ratio=1.0, **at),
        "random": lambda **at: RandomScore(merge_ratio=1.0, **at),
    }
    settings = {name: {pair: Setting(make(l1=pair[0], l2=pair[1]), FRAMES) for pair in pairs} for name, make in scorers.items()}
    plain, restarted, last, lots = settings.values()
    checks = []
    for pair in pairs:
        at, told = f", {pair[0]} → {pair[1]}", pair == (RAMP["l1"], RAMP["l2"])
        checks += [
            Check(f"PageRank against random{at}", plain[pair], lots[pair], BETTER, told=told),
            Check(f"PageRank against last-token attention{at}", plain[pair], last[pair], BETTER, told=told),
            Check(f"restarted against plain PageRank{at}", restarted[pair], plain[pair], None, told=told),
            Check(f"restarted PageRank against random{at}", restarted[pair], lots[pair], None),
        ]
    return Finding(
        number=4,
        title="PageRank against other importances, at equal counts",
        claim="PageRank finds the tokens that matter. No table isolates it. AIM as a whole (58.2 at 14.8 TFLOP) is ahead of "
        "FastV (55.9 at 21.2), which goes by the attention of the last token.",
        axis="l1 → l2, nothing merged",
        lines=False,
        points=[Point(name, f"{l1} → {l2}", setting) for name, by_pair in settings.items() for (l1, l2), setting in by_pair.items()],
        checks=checks,
    )


def _windows(config) -> Finding:
    settings = {}
    for ratio in (0.25, 0.1):
        kept = merged_per_frame(ratio, tokens_per_frame(config))
        # At the same ratio a window leaves more, since its share is rounded down only once: at 0.25 four frames of 49 leave 49, not 4 · 12.
        even = ratio_for(kept, tokens_per_frame(config))
        settings[ratio] = {1: _merged(ratio), 2: _merged(even, merge_window=2), 4: _merged(even, merge_window=4)}
    return Finding(
        number=5,
        title="Merging within a frame against windows of frames",
        claim="Tokens are merged within each frame, so that the order in time is kept. The paper gives no figures for windows of frames.",
        axis="frames merged together, equal token counts",
        points=[
            Point(f"{_percent(ratio)} kept", str(window), setting) for ratio, row in settings.items() for window, setting in row.items()
        ],
        checks=[
            Check(f"frame by frame against windows of {window} at {_percent(ratio)}", row[1], row[window], AS_GOOD, told=ratio == 0.25)
            for ratio, row in settings.items()
            for window in (2, 4)
        ],
    )


def _positions() -> Finding:
    ratios = (0.5, 0.25, 0.1)
    ways: dict[str, dict[str, Any]] = {"compact": {}, "original": {"positions": "original"}}
    settings = {name: {ratio: _merged(ratio, **knobs) for ratio in ratios} for name, knobs in ways.items()}
    return Finding(
        number=6,
        title="Compact against original positions",
        claim="Merged tokens are numbered 0, 1, 2…, whatever place they had. Merging to 25 % loses 0.2 points.",
        axis="visual tokens kept by merging",
        points=[Point(name, _percent(ratio), setting) for name, row in settings.items() for ratio, setting in row.items()],
        checks=[
            Check(
                f"compact against original at {_percent(ratio)}",
                settings["compact"][ratio],
                settings["original"][ratio],
                AS_GOOD,
                told=True,
            )
            for ratio in ratios
        ],
    )


def _order(config) -> Finding:
    """The two chains are compared at equal counts. At one ratio the official chain leaves a token more of an odd grid."""
    ratios, per_frame = (0.5, 0.25, 0.125), tokens_per_frame(config)
    official = {ratio: _merged(ratio, merge_order="official") for ratio in ratios}
    as_many = {ratio: _merged(ratio_for(merged_per_frame(ratio, per_frame, "official"), per_frame)) for ratio in ratios}
    rows = {
        "official chain": official,
        "raster chain, as many tokens": as_many,
        "raster chain, same ratio": {ratio: _merged(ratio) for ratio in ratios},
    }
    return Finding(
        number=7,
        title="The official chain against the raster chain",
        claim="The figures come from the official code, whose merging steps take the tokens in the order in which the step "
        "before ranked them. Ours take them by their places. No figures are given for the difference.",
        axis="visual tokens kept by merging",
        points=[Point(name, _percent(ratio), setting) for name, row in rows.items() for ratio, setting in row.items()],
        checks=[
            Check(f"official against raster chain at {_percent(ratio)}", official[ratio], as_many[ratio], AS_GOOD, told=True)
            for ratio in ratios
        ],
    )


def ratio_for(kept: int, per_frame: int) -> float:
    """The merge ratio that leaves `kept` of a frame's tokens, and n · `kept` of a window of n frames up to 10,000 tokens."""
    return share_of(kept, per_frame)


def widest(config, frames: int, **knobs) -> Setting:
    """AIM keeping as many tokens a frame as fit the modelled prefill FLOPs of `FRAMES` full frames, whatever the question's length.

    Raises:
        ValueError: not even one token a frame fits.
    """
    per_frame = tokens_per_frame(config)
    budget = {text: plan_for(config, FRAMES, text, Full()).prefill_tflops for text in TEXT_TOKENS}
    for kept in range(per_frame, 0, -1):
        setting = _merged(ratio_for(kept, per_frame), frames, **knobs)
        if all(plan_for(config, frames, text, setting.method).prefill_tflops <= most for text, most in budget.items()):
            return setting
    raise ValueError(f"{frames} frames do not fit the cost of {FRAMES} full ones, even at one token a frame.")
