"""Tests never reach for the network, in this process or in those they start. Set before anything imports huggingface_hub or gradio."""

import importlib.util
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# Apps of processes beside one another would delete each other's uploads.
uploads = tempfile.TemporaryDirectory(prefix="aim-tests-", ignore_cleanup_errors=True)
os.environ["GRADIO_TEMP_DIR"] = uploads.name
# Tiny models gain nothing from a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from tests.visitor import ARGUMENTS, CHROMIUM, EXAMPLES, Visitor, examples, serve  # noqa: E402

# lmms-eval is no part of what the tests need; it has an environment of its own, in which these run.
collect_ignore_glob = [] if importlib.util.find_spec("lmms_eval") else ["serving/lmms/*"]
# Nor is vLLM.
collect_ignore_glob += [] if importlib.util.find_spec("vllm") else ["serving/vllm", "serving/vllm/*"]

# Nor is torchvision, which the official video processors need, and which imports only beside the very torch it was built for.
try:
    import torchvision.transforms.v2  # noqa: F401
except (ImportError, OSError, RuntimeError):
    collect_ignore_glob.append("families/test_families_torchvision.py")


def pytest_collection_modifyitems(items):
    """Files with a test that may take minutes come first. At the end, one process would wait for the other."""
    patient = {item.path for item in items if (limit := item.get_closest_marker("timeout")) and limit.args[0] >= 300}
    items.sort(key=lambda item: item.path not in patient)


@pytest.fixture(scope="session", autouse=True)
def products_are_exact():
    """Tests compare bits, also on a processor whose runs would multiply in bfloat16."""
    from aim.kernels import products

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "FASTER_WITH", {})
        yield


@pytest.fixture(autouse=True)
def priority_stays():
    """No test may leave this process with real-time priority: the browser that it starts would inherit it and stall the machine."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.fixture(scope="session")
def app():
    """The address of the app around the real bundled model."""
    import aim

    demo, address = serve(aim.load("bundled"))
    yield address
    demo.close()


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.fail("CI has no Chromium, so the browser tests cannot run. Install it or set AIM_CHROMIUM.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def context(browser):
    """What tabs share, which keeps the page's files: a tab opens in half the time."""
    return browser.new_context()


@pytest.fixture
def tab(context, app):
    """`tab(...)` opens a tab, whatever the browser complains about in it."""
    visitors = []

    def open_tab(address: str = app, **options) -> Visitor:
        visitors.append(Visitor(context, address, **options))
        return visitors[-1]

    yield open_tab
    for visitor in visitors:
        visitor.close()


@pytest.fixture
def visit(tab):
    """As `tab`; at the end no tab may have had anything to complain about."""
    visitors = []

    def open_tab(*address: str, **options) -> Visitor:
        visitors.append(tab(*address, **options))
        return visitors[-1]

    yield open_tab
    assert [visitor.complaints for visitor in visitors if visitor.complaints] == []


@pytest.fixture(scope="session")
def explorer_tabs(browser):
    """The tabs of a page with the explorer alone."""
    from tests.explorer_page import Opened, served

    with served() as address:
        tabs = Opened(browser, address)
        yield tabs
        tabs.close()


@pytest.fixture
def explore(explorer_tabs):
    """As `visit`, for that page; a tab is used again and emptied before."""
    yield explorer_tabs.open
    explorer_tabs.check()


@pytest.fixture
def own_clip(tmp_path):
    """A clip that is none of the examples: one of them in a mirror, encoded anew."""
    import av

    import aim

    path = tmp_path / "own clip.mp4"
    frames = aim.read_video(EXAMPLES / examples()[1]["file"], num_frames=24).frames[:, :, ::-1]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=6)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return path
