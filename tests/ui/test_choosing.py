"""Another model in the place of the app's own, with a folder of tiny checkpoints in the place of the Hub's cache."""

import threading

import gradio as gr
import pytest
import torch

import aim
from aim.engine.stopping import Stopped
from aim.kernels.refusal import Refusal
from aim.runtime.offers import Offer
from aim.ui.choosing import Chooser, Tenure, may_choose
from aim.ui.choosing_part import labelled, progress, told_of_the_rest
from aim.ui.gpu import placed
from aim.ui.page import build_demo, launch_options
from tests.page import Page
from tests.tiny_checkpoints import save_checkpoint
from tests.ui.test_app_looks import serious
from tests.visitor import needs_browser

GB = 10**9
OFFERED = [
    Offer("bundled", 7 * 10**6, 0, "Trying the page."),
    Offer("tiny/qwen3-vl", 2 * GB, GB, "Clips of many frames."),
    Offer("tiny/breaks-off", 3 * GB, GB, "Nothing."),
    Offer("tiny/mllama", 4 * GB, GB, "Nothing."),
    Offer("tiny/huge", 40 * GB, GB, "Long clips."),
]
BROKEN = "The download broke off. Try again."


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """The folders of the checkpoints by their names on the Hub."""
    return {"tiny/qwen3-vl": save_checkpoint("qwen3_vl", tmp_path_factory.mktemp("qwen3_vl"), max_position_embeddings=8192)}


@pytest.fixture(scope="module")
def bundled():
    """A model that no test changes."""
    return aim.load("bundled", device="cpu")


def chooser_of(registry, vlm=None, room=20 * GB, free=lambda: 20 * GB) -> Chooser:
    def fetch(name, far, stop):
        far.total, far.done = 2 * GB, GB
        if name == "tiny/breaks-off":
            raise Refusal(BROKEN)

    def loader(name):
        if name == "tiny/mllama":
            raise Refusal("The model is of type 'mllama', which is not supported.")
        loaded = aim.load(registry.get(name, name), device="cpu")
        loaded.name = name
        return loaded

    limits = (lambda _device: room, lambda _device: free())
    return Chooser(vlm or aim.load("bundled", device="cpu"), offered=OFFERED, fetch=fetch, loader=loader, limits=limits)


def launched(page: gr.Blocks) -> gr.Blocks:
    """The page, as if it were launched: with what launching adds to it that `aim.ui.swap.show` changes."""
    page.server_app = page.app
    return page


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        ({}, True),
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, True),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        ({"GRADIO_SHARE": "True"}, False),
        ({"SPACE_ID": "somebody/aim"}, False),
        ({"SYSTEM": "spaces", "AIM_CHOOSE_MODEL": "on"}, True),
        ({"SPACES_ZERO_GPU": "true", "AIM_CHOOSE_MODEL": "on"}, False),
        ({"AIM_CHOOSE_MODEL": "Off"}, False),
    ],
)
def test_choosing_is_on_where_one_person_uses_the_app_and_elsewhere_only_where_the_host_says_so(environment, allowed):
    assert may_choose(environment) is allowed


def test_another_word_in_the_environment_ends_the_start_with_a_sentence():
    with pytest.raises(SystemExit, match='AIM_CHOOSE_MODEL is .perhaps.; accepted: "on" or "off"'):
        may_choose({"AIM_CHOOSE_MODEL": "perhaps"})


def test_only_models_that_fit_are_offered_and_one_line_tells_of_the_others(bundled):
    chooser = chooser_of({}, bundled)
    fit, rest = chooser.fitting()
    assert [offer.name for offer in fit] == ["bundled", "tiny/qwen3-vl", "tiny/breaks-off", "tiny/mllama"]
    assert labelled(fit[1]) == ("tiny/qwen3-vl · 3.00 GB · Clips of many frames.", "tiny/qwen3-vl")
    told = told_of_the_rest(rest, chooser.room)
    assert told == "One larger model is not listed. It needs 41.0 GB, and a model may take 20.0 GB of the memory here."
    assert "2 larger models are not listed. They need 5.00 GB to 41.0 GB" in told_of_the_rest(OFFERED[-2:], 4 * GB)
    for name in ("tiny/huge", "tiny/unknown", None):
        with pytest.raises(Refusal, match="No model of the list is chosen"):
            chooser.offer(name)
    with pytest.raises(Refusal, match="answers already"):
        chooser.offer("bundled")


def test_a_download_tells_its_bytes_and_stops_when_asked(bundled):
    chooser, stop, going = chooser_of({}, bundled), threading.Event(), threading.Event()

    def fetch(name, far, stop):
        far.total, far.done = 2 * GB, GB
        going.set()
        stop.wait(10)
        raise Stopped

    chooser.fetch = fetch
    steps = chooser.download("tiny/qwen3-vl", stop)
    far = next(steps)
    assert going.is_set() and (far.done, far.total) == (GB, 2 * GB)
    assert 'max="2000000000" value="1000000000"' in progress("Downloading.", far) and "1.00 GB of 2.00 GB" in progress("Downloading.", far)
    stop.set()
    with pytest.raises(Stopped):
        list(steps)


@pytest.mark.parametrize(
    ("free", "told"),
    [
        pytest.param([20 * GB], "'mllama', which is not supported", id="beside the present one", marks=pytest.mark.whole),
        pytest.param([0, 20 * GB], "'mllama', which is not supported", id="in its place"),
        pytest.param([0, 0], '"tiny/mllama" needs 5.0 GB of memory, and 0.0 GB are free now', id="without room", marks=pytest.mark.whole),
    ],
)
def test_a_model_that_cannot_be_loaded_leaves_the_present_one_as_it_was(registry, free, told):
    """Where there is no room for both, the present one's weights are away in between."""
    chooser = chooser_of(registry, free=iter(free).__next__)
    chooser.build, chooser.running = (lambda vlm: gr.Blocks()), gr.Blocks()
    present = chooser.vlm
    before = {name: weights.clone() for name, weights in present.model.state_dict().items()}
    with pytest.raises(Refusal, match=told):
        list(chooser.change("tiny/mllama", threading.Event()))
    after = present.model.state_dict()
    assert chooser.vlm is present and before.keys() == after.keys()
    assert all(torch.equal(after[name], weights) for name, weights in before.items())


def test_the_weights_of_a_model_that_was_followed_leave_the_memory(registry):
    chooser = chooser_of(registry)
    chooser.build, chooser.running = (lambda vlm: gr.Blocks()), launched(gr.Blocks())
    present = chooser.vlm
    layers, plan = present.num_layers, present.plan(8, 20, aim.AIM())
    list(chooser.change("tiny/qwen3-vl", threading.Event()))
    assert chooser.vlm.name == "tiny/qwen3-vl" and sum(weights.numel() for weights in present.model.parameters()) == 0
    assert present.num_layers == layers and present.plan(8, 20, aim.AIM()) == plan  # what an open page still shows


def test_a_page_whose_model_was_followed_by_another_refuses_to_plan_and_to_run(bundled):
    tenure = Tenure()
    model = tenure.of(placed(bundled))
    assert model.plan(8, 20, aim.AIM()).prefill_tflops > 0
    tenure.successor = "tiny/qwen3-vl"
    for use in (lambda: model.plan(8, 20, aim.AIM()), lambda: next(iter(model.run("ask", threading.Event())))):
        with pytest.raises(Refusal, match="now answers with tiny/qwen3-vl, which was chosen on another page. Load this page again."):
            use()


@pytest.fixture
def app(registry):
    """(chooser, address) of the app around the bundled model, in which another one can be chosen."""
    chooser = chooser_of(registry)
    options = {"prevent_thread_lock": True, "quiet": True, "inbrowser": False, "share": False, "_frontend": False}
    demo = build_demo(chooser.vlm, chooser=chooser)
    _, address, _ = demo.launch(**options, **launch_options())
    yield chooser, address
    demo.close()


def choose(page: Page, name: str) -> list[str]:
    """Choose a model on a page: what the page says meanwhile, as HTML."""
    page.set("models", name)
    page.at_once(begin := page.event("load-model"))
    said, passed = [], [None, ""]
    for step in (fetch := page.after(begin), page.after(fetch)):
        page.values[step["inputs"][1]] = passed[1] if step is not fetch else name
        told = [message["output"]["data"] for message in page.do(step) if "output" in message]
        passed = told[-1]
        said += [values[0] for values in told if isinstance(values[0], str)]
    return said


@pytest.mark.whole
def test_after_a_choice_new_pages_have_the_other_models_knobs_and_open_pages_are_told(app):
    chooser, address = app
    open_page, page = Page(address), Page(address)
    list(open_page.press_run())
    told = choose(page, "tiny/breaks-off")[-1]
    assert BROKEN in told and "For now the bundled shapes model still answers." in told
    assert chooser.vlm.is_bundled and "Answered" in list(page.press_run())[-1]["output"]["data"][0]

    said = choose(page, "tiny/qwen3-vl")
    assert "Loading into memory." in " ".join(said) and "The page opens anew." in said[-1]
    new = Page(address)
    assert (new.values[new.by_name["l2"]], open_page.values[open_page.by_name["l2"]]) == (5, 9)
    facts = next(part["props"]["props"]["facts"] for part in new.config["components"] if part["id"] == new.by_name["screen"])
    assert facts["model"] == "tiny/qwen3-vl" and facts["pace"] == "run"
    assert "Press Run to ask tiny/qwen3-vl." in new.values[new.by_name["screen"]]["note"]
    new.set("frames", 2)
    assert "Answered" in list(new.press_run())[-1]["output"]["data"][0]
    assert "Load this page again." in list(open_page.press_run())[-1]["output"]["data"][0]
    assert "The page opens anew." in choose(open_page, "bundled")[-1] and chooser.vlm.is_bundled  # an open page may choose too
    assert "now answers with the bundled shapes model" in list(new.press_run())[-1]["output"]["data"][0]
    for one in (open_page, page, new):
        one.close()


@needs_browser
@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(1400, False, id="light", marks=pytest.mark.every),
        pytest.param(390, True, id="dark on a phone", marks=pytest.mark.every),
    ],
)
def test_a_person_chooses_a_model_and_the_page_follows(tab, visit, app, width, dark):
    _, address = app
    person, other = tab(address, width=width, dark=dark), visit(address)
    other.settled()
    person.tab.locator("#choose-model button").first.click()
    person.tab.locator("#models label").filter(has_text="tiny/breaks-off").click()
    person.tab.locator("#load-model").click()
    person.wait_for_text("#choose-status .aim-error", BROKEN)
    assert person.overflow() == 0 and serious(person, "#choose-model") == []
    person.tab.locator("#models label").filter(has_text="tiny/qwen3-vl").click()
    person.tab.locator("#load-model").click()
    person.wait_for_text("#choose-model", "Model: tiny/qwen3-vl.")
    person.wait_for_knob("l2", 5)
    person.wait_for_text("#screen", "Press Run to ask tiny/qwen3-vl.")
    assert person.overflow() == 0 and "l2=" not in person.tab.url
    # A page that is left may drop what it still waits for.
    assert [complaint for complaint in person.complaints if not complaint.startswith("AbortError")] == []
    other.set("merge-ratio", 0.1)
    other.wait_for_status("This app now answers with tiny/qwen3-vl, which was chosen on another page.")
