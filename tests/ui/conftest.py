"""The app, and tabs in which tests look at it.

What is open costs time although nobody looks: Gradio's server asks its queue a thousand times a second, and its page draws sixty times a
second. So an app is closed after the last test of this folder, and the explorer's tabs after the last of their file.
"""

import numpy as np
import pytest

from tests.visitor import EXAMPLES, Visitor, examples, serve


@pytest.fixture(scope="package")
def app():
    """The address of the app around the real bundled model."""
    import aim

    demo, address = serve(aim.load("bundled"))
    yield address
    demo.close()


@pytest.fixture(scope="package")
def context(browser):
    """What tabs share. It has the profile, which keeps the page and its compiled scripts: a tab opens in two thirds of the time."""
    return browser.contexts[0]


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


@pytest.fixture(scope="module")
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
