"""The page in a real browser, wide and narrow."""

import shutil
from contextlib import suppress

import numpy as np
import pytest
from demo_page import TREE, photograph
from PIL import Image

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*flags.split(), "--disable-background-networking", "--disable-component-update"],
        )
        yield running
        running.close()


@pytest.fixture(params=[(1200, 800), (380, 800)], ids=["wide", "narrow"])
def opened(served, browser, request):
    """The page in a window; at the end nothing may have come from elsewhere or failed."""
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    own = (f"http://127.0.0.1:{served[1]}/", "data:")
    page.on("request", lambda r: None if r.url.startswith(own) else wrong.append(r.url))
    page.goto(own[0])
    yield page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
    assert not wrong


def upload(page, content=None, name="photo.png"):
    content = content or photograph(60, 88)[0]
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
    page.wait_for_selector("body:not(.busy) #result:not([hidden])")


def test_a_photograph_is_uploaded_and_its_chain_shown(opened, served):
    upload(opened)
    result = served[0].segmenter.segment(photograph(60, 88)[1])
    assert opened.locator("#layers label").all_inner_texts() == [
        *("photograph", "level 0", "level 1", "level 2", "level 3", "level 4", "uncertainty")
    ]
    assert opened.locator("#experts > li").count() == len(TREE.experts)
    names = [leaf.name for leaf in TREE.leaves]
    for y, x in np.random.default_rng(1).integers(0, (60, 88), (12, 2)):
        opened.locator("#photograph").scroll_into_view_if_needed()
        frame = opened.locator("#photograph").bounding_box()
        scale = frame["width"] / 88
        opened.mouse.move(frame["x"] + (x + 0.5) * scale, frame["y"] + (y + 0.5) * scale)
        leaf = names[TREE.leaf_of_id(TREE.root.name)[result.labels[y, x]]]
        assert opened.locator(".path b").last.inner_text() == leaf
        rows = opened.locator("#readout .row").all_inner_texts()
        shown = {name: float(share.removesuffix(" %")) for name, share in map(str.splitlines, rows)}
        for name, share in zip(names, result.leaf_probabilities[:, y, x], strict=True):
            assert shown[name] == pytest.approx(100 * share, abs=1.5)
        assert shown["uncertainty"] == pytest.approx(100 * result.uncertainty[y, x], abs=1.5)


def test_layers_are_switched_and_faded(opened):
    upload(opened)
    colours = (
        "() => new Set(new Uint32Array(document.querySelector('#overlay').getContext('2d')"
        ".getImageData(0, 0, 88, 60).data.buffer)).size"
    )
    opened.get_by_text("photograph", exact=True).click()
    assert opened.evaluate(colours) == 1
    opened.get_by_text("level 0", exact=True).click()
    few = opened.evaluate(colours)
    opened.get_by_text("uncertainty", exact=True).first.click()
    assert 1 < few < opened.evaluate(colours)
    opened.locator("#opacity").fill("20")
    assert opened.locator("#overlay").evaluate("it => it.style.opacity") == "0.2"


def test_an_example_is_one_click_and_keys_move_the_point(opened):
    opened.locator("#examples button").first.click()
    opened.wait_for_selector("body:not(.busy) #result:not([hidden])")
    opened.locator("#stage").focus()
    before = opened.locator("#readout").inner_html()
    for _ in range(5):
        opened.keyboard.press("ArrowRight")
        opened.keyboard.press("ArrowDown")
    assert opened.locator("#point").is_visible()
    assert opened.locator("#readout").inner_html() != before


def test_a_refusal_is_shown_on_the_page(served, browser):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{served[1]}/")
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"nothing"})
    page.wait_for_selector("#message.error")
    assert "not an image" in page.locator("#message").inner_text()
    assert not page.locator("#result").is_visible()
    page.route("**/segment", lambda route: route.fulfill(status=503, body="<html>busy</html>"))
    page.set_input_files("#file", {"name": "y.png", "mimeType": "image/png", "buffer": b"nothing"})
    page.get_by_text("The server answers with 503.").wait_for()
    page.close()


def test_the_photograph_that_was_sent_last_is_shown(served, browser):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{served[1]}/")
    held = []
    page.route("**/segment", lambda route: route.continue_() if held else held.append(route))
    for size in ((40, 30), (50, 70)):
        buffer = photograph(*size)[0]
        page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": buffer})
    page.wait_for_selector("body:not(.busy) #result:not([hidden])")
    with suppress(Exception):  # the page no longer waits for it
        held[0].continue_()
    page.wait_for_timeout(300)
    assert page.evaluate("[result.height, result.width]") == [50, 70]
    page.close()


def test_label_map_overlay_and_cutout_are_downloaded(opened, served):
    upload(opened)
    result = served[0].segmenter.segment(photograph(60, 88)[1])
    found = {}
    for kind in ("labels", "overlay", "cutout"):
        with opened.expect_download() as waiting:
            opened.click(f"button[data-kind={kind}]")
        assert waiting.value.suggested_filename == f"{kind}.png"
        found[kind] = np.asarray(Image.open(waiting.value.path()))
    np.testing.assert_array_equal(found["labels"][..., 0], result.labels)
    assert found["overlay"].shape == found["cutout"].shape == (*result.labels.shape, 4)
    background = result.leaf_probabilities[0]
    assert (found["cutout"][background < 0.2, 3] > 250).all()
    assert (found["cutout"][background > 0.8, 3] < 5).all()
