"""Findings 8 to 10: what a reduced vision tower costs, what each method keeps of the evidence, and which claims of newer papers hold here.

The claims of finding 10 are those of the methods' own papers, measured there on large models and real videos. Each is put to the test with
the method's own knobs, at the share of tokens that the claim names.
"""

from __future__ import annotations

from typing import Any

from aim.evaluation.board_settings import BUDGETS, CONTROLS, board_cells, usual_text_tokens
from aim.evaluation.findings import AS_GOOD, BETTER, RECALL, Check, Finding, Point
from aim.evaluation.settings import Setting
from aim.evaluation.shrunken import side_of, vision_of
from aim.evaluation.suites import FRAMES, FULL, RAMP
from aim.methods import AIM, METHODS, Full, Method
from aim.methods.tower import Tower
from aim.runtime.vlm import VLM

TOWERS = {
    "merged to 50 %": Tower(merge=0.5),
    "merged to 30 %": Tower(merge=0.3),
    "reuse at 8/255": Tower(reuse=8 / 255),
    "30 % and reuse": Tower(merge=0.3, reuse=8 / 255),
}
FEWER = FRAMES // 2  # so many full frames cost the tower about as much as all frames merged to 30 %
EVIDENCE_BUDGETS = ((8, 4), (32, 10))  # (frames, times fewer FLOPs), two of the board's
TOLD = ("aim", "evs", "vidcom2", "visionzip")


def findings_of_methods(vlm: VLM) -> list[Finding]:
    """The three, for the bundled model.

    Raises:
        Refusal: a model whose tower cannot be reduced, or which a method does not take.
    """
    return [tower_finding(vlm), evidence_finding(vlm), claims_finding(vlm)]


def tower_finding(vlm: VLM) -> Finding:
    """Finding 8. Times are measured beside it (`every_finding.tower_times`)."""
    methods: dict[str, Method] = {
        "full model": Full(),
        "AIM, merged to 25 %, with dropping": AIM(merge_ratio=0.25, l1=RAMP["l1"], l2=RAMP["l2"]),
    }
    towers = {"full": None, **{name: vlm.fit_tower(tower) for name, tower in TOWERS.items()}}
    settings = {name: {kind: Setting(method, FRAMES, tower) for kind, tower in towers.items()} for name, method in methods.items()}
    fewer = {name: Setting(method, FEWER) for name, method in methods.items()}
    side = side_of(towers["merged to 30 %"] or TOWERS["merged to 30 %"], vision_of(vlm.model.config))
    shrunk = {name: Setting(method, FRAMES, shrunk=side) for name, method in methods.items()}
    checks = []
    for name, row in settings.items():
        told = name == "full model"
        checks += [
            Check(f"{kind} against the full tower, {name}", row[kind], row["full"], AS_GOOD, told=told and kind != "merged to 50 %")
            for kind in TOWERS
        ]
        checks += [
            Check(f"merged to 30 % against {words}, {name}", row["merged to 30 %"], control[name], BETTER, told=told)
            for words, control in (("shrunken frames", shrunk), (f"{FEWER} full frames", fewer))
        ]
    return Finding(
        number=8,
        title="A reduced vision tower: accuracy against tower time",
        source="this project",
        claim="Merging patches inside the vision tower to 30 %, or computing only what has changed, or both, costs next to nothing. It "
        "costs less than frames shrunk until the tower takes as many FLOPs, and less than half as many frames.",
        axis="vision tower",
        lines=False,
        points=[
            *(Point(name, kind, setting) for name, row in settings.items() for kind, setting in row.items()),
            *(Point(name, "full, shrunken frames", setting) for name, setting in shrunk.items()),
            *(Point(name, f"full, {FEWER} frames", setting) for name, setting in fewer.items()),
        ],
        checks=checks,
    )


def evidence_finding(vlm: VLM) -> Finding:
    """Finding 9, on settings of the board."""
    budgets = {frames: tuple(times for those, times in EVIDENCE_BUDGETS if those == frames) for frames in BUDGETS}
    cells = [(cell, cell.setting) for cell in board_cells(vlm, [], usual_text_tokens(vlm), budgets) if cell.setting is not None]
    places = {(cell.method, cell.frames): setting for cell, setting in cells}
    checks = [
        Check(
            f"{cell.method} against {control}, {cell.frames} frames, {cell.budget}x fewer",
            setting,
            places[control, cell.frames],
            BETTER,
            told=control == "random" and cell.frames == FRAMES and cell.method in TOLD,
        )
        for cell, setting in cells
        if cell.method not in CONTROLS
        for control in ("random", "fewerframes")
    ]
    return Finding(
        number=9,
        title="The evidence that each method keeps at equal cost",
        source="the methods' idea",
        claim="A method keeps the tokens that matter. Of the object that a question is about, more patches are left to the layers than "
        "under a random choice or with fewer frames, at the same FLOPs. Merging alone drops no patch, so it keeps all.",
        axis="method",
        lines=False,
        points=[Point(f"{cell.frames} frames, {cell.budget}x fewer FLOPs", cell.method, setting) for cell, setting in cells],
        checks=checks,
        figure=RECALL,
        widened=True,
    )


def claims_finding(vlm: VLM) -> Finding:
    """Finding 10: a table of (claim, what is compared, the method, with what, what is expected)."""

    def at(name: str, share: float, **knobs) -> Setting:
        kind: Any = METHODS[name]
        return Setting(kind(keep_ratio=share, **knobs).for_depth(vlm.num_layers, vlm.ramp), FRAMES)

    quarter, tenth, cut = 0.25, 0.1, {"layer": 2}
    rows: list[tuple[str, str, Setting, Setting, str]] = [
        ("VidCom2", "VidCom2 at 25 % against full", at("vidcom2", quarter), FULL, AS_GOOD),
        ("VidCom2", "VidCom2 against FastV at 25 %", at("vidcom2", quarter), at("fastv", quarter, **cut), BETTER),
        ("VidCom2", "VidCom2 against random at 25 %", at("vidcom2", quarter), at("random", quarter, **cut), BETTER),
        ("EVS", "EVS at 30 % against full", at("evs", 0.3), FULL, AS_GOOD),
        ("DART", "DART against FastV at 25 %", at("dart", quarter, **cut), at("fastv", quarter, **cut), BETTER),
        ("DART", "DART against random at 25 %", at("dart", quarter, **cut), at("random", quarter, **cut), BETTER),
        ("DivPrune", "DivPrune against VisionZip at 10 %", at("divprune", tenth), at("visionzip", tenth), BETTER),
        ("DivPrune", "DivPrune against FastV at 10 %", at("divprune", tenth), at("fastv", tenth, **cut), BETTER),
        ("FlashVID", "FlashVID at 10 % against full", at("flashvid", tenth), FULL, AS_GOOD),
        ("FlashVID", "FlashVID against FastVID at 10 %", at("flashvid", tenth), at("fastvid", tenth), BETTER),
        ("FlashVID", "FlashVID against VisionZip at 10 %", at("flashvid", tenth), at("visionzip", tenth), BETTER),
    ]
    points = {setting: None for _, _, first, second, _ in rows for setting in (first, second)}
    return Finding(
        number=10,
        title="Published claims of newer methods",
        source="the methods' papers",
        claim="VidCom2: a quarter of the tokens answers as well as all of them (99.6 %), and better than FastV and a random choice. EVS: "
        "what changed since the frame before is enough, at 30 %. DART: what repeats others can go, rather than what has little "
        "attention. DivPrune: tokens that differ from one another answer better than those with the most attention. FlashVID: a tenth "
        "keeps nearly all (99.1 %), more than FastVID and VisionZip.",
        axis="tokens kept",
        lines=False,
        points=[Point(setting.method.name, f"{100 * _kept(setting):g} %", setting) for setting in sorted(points, key=_kept, reverse=True)],
        checks=[Check(label, first, second, expected, told=True, claim=claim) for claim, label, first, second, expected in rows],
    )


def _kept(setting: Setting) -> float:
    return setting.method.params().get("keep_ratio", 1.0)
