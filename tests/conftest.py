"""Tests never reach for the network, in this process or in those they start. Set before anything imports huggingface_hub or gradio."""

import gc
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

import pytest  # noqa: E402

from tests.visitor import ARGUMENTS, CHROMIUM  # noqa: E402

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


def pytest_collection_finish():
    """What stays until the end, the tests and the libraries, is not looked through each time that a test collects garbage."""
    gc.collect()
    gc.freeze()


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
def browser():
    if CHROMIUM is None:
        pytest.fail("CI has no Chromium, so the browser tests cannot run. Install it or set AIM_CHROMIUM.")
    from playwright.sync_api import sync_playwright

    # With a profile on the disk it keeps the page's scripts as it compiled them. Otherwise every tab would compile them anew.
    with tempfile.TemporaryDirectory(prefix="aim-browser-", ignore_cleanup_errors=True) as profile, sync_playwright() as playwright:
        with_profile = playwright.chromium.launch_persistent_context(profile, executable_path=CHROMIUM, args=ARGUMENTS)
        yield with_profile.browser
        with_profile.close()
