"""How fast and how still the page is, in headless Chromium: `python -m tests.page_speed`. Clocks say nothing on a busy machine.

It prints one JSON object: bytes and requests of the first load, the time of the first picture with an answer, the layout shift at every
width in light and dark, and how long after a move of the slider the new answer and picture are on the screen.
"""

from __future__ import annotations

import json
import random
import statistics

from tests.visitor import ARGUMENTS, CHROMIUM, serve

WIDTHS, DRAGS = (390, 768, 1400, 1920), 20
# The first refresh of the screen on which the picture is there, and the sum of all shifts that no input explains.
WATCH = """() => {
    window.shift = 0;
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({ type: 'layout-shift', buffered: true });
    const look = () => {
        const picture = document.querySelector('#screen [data-ready] canvas.aim-x-large');
        if (picture?.offsetHeight && document.querySelector('.aim-answer').textContent) window.firstPicture ??= performance.now();
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""
# From the last input of the slider to the refresh on which the screen shows that setting.
FOLLOW = """() => {
    window.waits = [];
    let moved = null;
    document.querySelector('#merge-ratio input[type=range]').addEventListener('input', () => { moved = performance.now(); }, true);
    const value = () => Number(document.querySelector('#merge-ratio input[type=range]').value);
    const look = () => {
        const { asked } = window.aimPage.shown, place = window.aimPage.facts.names.indexOf('merge_ratio');
        if (moved !== null && asked[place] === value() && document.querySelector('.aim-veil').hidden) {
            window.waits.push(performance.now() - moved);
            moved = null;
        }
        requestAnimationFrame(look);
    };
    look();
}"""


def loaded(browser, address: str, width: int, dark: bool) -> tuple:
    """(tab, bytes, addresses that were asked for) of a first visit, two seconds after the picture is there."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    tab, sizes, asked = context.new_page(), [], []
    events = context.new_cdp_session(tab)
    events.send("Network.enable")
    events.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    tab.on("request", lambda request: asked.append(request.url))
    tab.add_init_script(f"({WATCH})()")
    tab.goto(address)
    tab.wait_for_function("window.firstPicture !== undefined")
    tab.wait_for_timeout(2000)
    return tab, round(sum(sizes)), asked


def drag(tab) -> list[float]:
    """Milliseconds of each of `DRAGS` moves, from the last input to the picture."""
    tab.evaluate(FOLLOW)
    box = tab.locator("#merge-ratio input[type=range]").bounding_box()
    middle, draw = box["y"] + box["height"] / 2, random.Random(1)
    tab.mouse.move(box["x"] + box["width"] * 0.25, middle)
    tab.mouse.down()
    for count in range(1, DRAGS + 3):
        tab.mouse.move(box["x"] + box["width"] * draw.uniform(0.03, 0.95), middle)
        tab.wait_for_function("count => window.waits.length >= count", arg=count)
    tab.mouse.up()
    return tab.evaluate("window.waits")[2:]  # the first two set things up


def report() -> dict:
    """All figures; times in milliseconds."""
    from playwright.sync_api import sync_playwright

    import aim

    demo, address = serve(aim.load("bundled"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        loaded(browser, address, 1400, False)[0].context.close()  # the server's own first visit
        told: dict = {"layout_shift": {}}
        for width in WIDTHS:
            for dark in (False, True):
                tab, size, asked = loaded(browser, address, width, dark)
                told["layout_shift"][f"{width} {'dark' if dark else 'light'}"] = round(tab.evaluate("window.shift"), 4)
                if (width, dark) == (1400, False):
                    waits = sorted(drag(tab))
                    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
                    told |= {"bytes": size, "requests": len(asked), "elsewhere": elsewhere}
                    told |= {"first_picture": round(tab.evaluate("window.firstPicture"))}
                    told |= {"drag_median": round(statistics.median(waits)), "drag_p95": round(waits[int(0.95 * len(waits)) - 1])}
                tab.context.close()
        browser.close()
    demo.close(verbose=False)
    return told


if __name__ == "__main__":
    print(json.dumps(report(), indent=1))
