"""Ask again without painted patches, or with only them."""

import pytest

import aim
from aim.kernels.refusal import Refusal
from aim.methods.mask import Mask
from aim.ui.counterfactual import ask_again, painted_by
from aim.ui.gpu import placed
from aim.ui.request import Request
from aim.ui.stop import StopSignal
from tests.visitor import EXAMPLES, examples

FIRST = examples()[0]
CLIP = EXAMPLES / FIRST["file"]


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


def request() -> Request:
    return Request.of(video=str(CLIP), question=FIRST["question"], num_frames=4, merge_ratio=0.5, l1=2, l2=4, max_new_tokens=8)


@pytest.mark.parametrize(("mode", "begins"), [("without", "Without these 98 patches"), ("only", "With only these 98 patches")])
def test_it_says_what_the_library_says(vlm, mode, begins):
    places = list(range(98))
    told = ask_again(placed(vlm), request(), places, mode, StopSignal())
    expected = vlm.ask(aim.read_video(CLIP, 4), FIRST["question"], Mask(mask_places=tuple(places), mask_mode=mode), max_new_tokens=8)
    assert told.startswith(begins) and f"the full model says “{expected.text}”." in told


@pytest.mark.parametrize(("places", "mode"), [([], "without"), ([1], "other"), (range(4 * 49), "without"), ([10**6], "only")])
def test_nothing_or_everything_painted_is_refused_in_a_sentence_and_the_next_one_works(vlm, places, mode):
    model, stop = placed(vlm), StopSignal()
    with pytest.raises(Refusal, match=r"\.$"):
        ask_again(model, request(), list(places), mode, stop)
    assert "Without this 1 patch " in ask_again(model, request(), [3], "without", StopSignal())


@pytest.mark.parametrize(
    "told",
    [None, "x", "{}", '{"mask": null}', '{"mask": {"places": "1", "mode": "only"}}', '{"mask": {"places": [-1, true], "mode": "only"}}'],
)
def test_whatever_a_browser_sends_is_places_or_nothing(told):
    assert painted_by(told) == ([], "")
    assert painted_by('{"mask": {"places": [4, 2, 4], "mode": "only"}}') == ([2, 4], "only")
