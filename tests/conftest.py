"""Tests never reach for the network, in this process or in those they start. Set before anything imports huggingface_hub or gradio."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import pytest  # noqa: E402

from tests.visitor import ARGUMENTS, CHROMIUM, Visitor, serve  # noqa: E402


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


@pytest.fixture
def visit(browser, app):
    """`visit(...)` opens a tab; at the end no tab may have had anything to complain about."""
    visitors = []

    def open_tab(address: str = app, **options) -> Visitor:
        visitors.append(Visitor(browser, address, **options))
        return visitors[-1]

    yield open_tab
    for visitor in visitors:
        visitor.context.close()
        assert visitor.complaints == []


@pytest.fixture
def own_clip(tmp_path):
    """A clip that is none of the examples."""
    from aim.shapes.examples import write_clip
    from aim.shapes.scenes import make_scene

    path = tmp_path / "own clip.mp4"
    write_clip(make_scene("validation", 1000), path)
    return path
