"""A finding, an evaluation and a board made by hand, of which every share is known."""

import aim
from aim.evaluation.board import judge_board
from aim.evaluation.board_settings import Cell
from aim.evaluation.findings import Finding, Point
from aim.evaluation.settings import Setting
from aim.evaluation.suites import OFF
from aim.evaluation.summary import ALL, Evaluation
from tests.benchmark import record

PER_FRAME = 49
# Under GOOD 9 of 10 questions of each clip are right, under BAD 6 of 10, under LUCKY 9 of 10 or 6 of 10 in turn; needles come last.
GOOD, BAD, LUCKY = Setting(aim.Full(), 8), Setting(aim.AIM(**OFF), 8), Setting(aim.AIM(merge_ratio=0.1, **OFF), 8)
TYPES = ["colour"] * 8 + ["needle"] * 2


def made_up(config):
    nine, six = [1] * 9 + [0], [1] * 6 + [0] * 4
    records = []
    for clip in range(40):
        records += [record(GOOD, clip, nine, TYPES), record(BAD, clip, six, TYPES), record(LUCKY, clip, six if clip % 2 else nine, TYPES)]
    return Evaluation(records[::-1], config, PER_FRAME)


def one(checks, kinds=(ALL,)):
    points = [Point("a <b>", str(i), setting) for i, setting in enumerate((GOOD, BAD, LUCKY))]
    return Finding(9, "Title", "Claim <i>", "axis", points, checks, kinds)


def board_cells_made_up():
    """A method as good as the full model, one as bad as can be told from it, and controls of which one is out of reach."""
    methods = {"aim": aim.AIM(**OFF), "tome": aim.ToMe(), "pool": aim.Pool(), "random": aim.Random()}
    cells = [Cell(name, 8, 2, Setting(method.for_depth(12), 8)) for name, method in methods.items()]
    return [*cells, Cell("fewerframes", 8, 2, None, 1.9)]


def made_up_board(config, clips=40):
    """Of each clip's 10 questions, aim gets 9 right, pool 6, and tome and random 9 or 6, in turn. Pool has half of the others' tokens."""
    nine, six = [1] * 9 + [0], [1] * 6 + [0] * 4
    cells = board_cells_made_up()
    rights = {"aim": (nine, nine), "tome": (nine, six), "pool": (six, six), "random": (six, nine)}
    records = []
    for clip in range(clips):
        records.append(record(GOOD, clip, nine, TYPES))
        for cell in cells[:-1]:
            visual = [100 if cell.method == "pool" else 200] * 12
            records.append(record(cell.setting, clip, rights[cell.method][clip % 2], TYPES, visual))
    report = judge_board(cells, Evaluation(records, config, PER_FRAME))
    return {"weights": "none", "split": "test", "clips": clips, "text_tokens": 13, **report}
