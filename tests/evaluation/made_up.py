"""A finding and an evaluation made by hand, of which every share is known."""

import aim
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
