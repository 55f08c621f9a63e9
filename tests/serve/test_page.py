"""The page in a real browser, clicked through as a person would."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serve.browser import CHROMIUM, browser, wait_for_files
from tests.serve.running import running

SIZE_WH = (320, 240)


@pytest.fixture
def page(tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with running() as port, browser(tmp_path) as page:
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.querySelector('#about')?.textContent")
        yield page


def save_photo(path):
    Image.new("RGB", SIZE_WH, "navy").save(path)
    return path


def colour_at(page, x, y):
    pixel = (
        f"[...document.querySelector('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data]"
    )
    return page.evaluate(pixel)[:3]


def test_dropping_hovering_toggling_and_saving(page, tmp_path):
    page.choose_files("#files", save_photo(tmp_path / "one.png"), save_photo(tmp_path / "two.png"))
    page.wait_for("document.querySelectorAll('#objects li').length === 2")
    assert page.evaluate("document.querySelector('#value').textContent") == "0.40"
    assert "2 of 3 objects" in page.evaluate("document.querySelector('#count').textContent")
    assert page.evaluate("document.querySelector('#objects .name').textContent") == "person"
    # Tinted on the left half, where the person is, and plain on the right.
    plain, tinted = colour_at(page, 240, 150), colour_at(page, 80, 150)
    assert plain == [0, 0, 128]
    assert np.abs(np.subtract(tinted, plain)).sum() > 50

    # The threshold shows the third object without asking again.
    asked = len(page.asked)
    page.evaluate(
        "(() => { const t = document.querySelector('#threshold'); t.value = 0.1;"
        "t.dispatchEvent(new Event('input')); })()"
    )
    assert page.evaluate("document.querySelectorAll('#objects li').length") == 3
    page.evaluate(
        "(() => { const t = document.querySelector('#threshold'); t.value = 0.4;"
        "t.dispatchEvent(new Event('input')); })()"
    )

    # Pointing at it marks the object in the list; a click switches it off.
    left, top, right, bottom = page.place("document.querySelector('canvas')")
    at = left + (right - left) / 4, top + (bottom - top) * 0.6
    page.mouse("mouseMoved", *at)
    page.wait_for("document.querySelector('#objects li.hovered .name')?.textContent === 'person'")
    assert colour_at(page, 80, 150) != tinted
    if "CENTERMASK_SCREENSHOT" in os.environ:
        page.save_screenshot(Path(os.environ["CENTERMASK_SCREENSHOT"]))
    page.click(*at)
    page.wait_for("document.querySelector('#count').textContent.startsWith('1 of 3')")
    page.mouse("mouseMoved", right + 5, bottom - 5)
    assert colour_at(page, 80, 150) == plain
    page.click_on("document.querySelector('#objects input')")
    page.wait_for("document.querySelector('#count').textContent.startsWith('2 of 3')")
    page.click_on("document.querySelectorAll('#objects input')[1]")

    # Saved is what is shown.
    page.click_on("document.querySelector('#json')")
    page.click_on("document.querySelector('#png')")
    downloads = tmp_path / "downloads"
    wait_for_files(downloads, "one.json", "one_drawn.png")
    saved = json.loads((downloads / "one.json").read_text())
    assert [one["name"] for one in saved["objects"]] == ["person"]
    with Image.open(downloads / "one_drawn.png") as drawn:
        assert drawn.size == SIZE_WH
    assert len(page.asked) - asked <= 3  # the second photo, and what is saved
    assert all(url.startswith(("http://127.0.0.1", "blob:", "data:")) for url in page.asked)


def test_photos_are_dropped_anywhere_on_the_page(page):
    page.evaluate(
        """(async () => {
            const drawn = new OffscreenCanvas(60, 40);
            drawn.getContext("2d").fillRect(0, 0, 60, 40);
            const dropped = new DataTransfer();
            dropped.items.add(new File([await drawn.convertToBlob()], "dropped.png"));
            const how = { dataTransfer: dropped, bubbles: true, cancelable: true };
            document.querySelector("aside").dispatchEvent(new DragEvent("drop", how));
        })()"""
    )
    page.wait_for("document.querySelectorAll('#objects li').length === 2")
    assert "dropped.png" in page.evaluate("document.querySelector('#message').textContent")


def test_what_is_no_photo_is_told_on_the_page(page, tmp_path):
    (tmp_path / "notes.png").write_text("hello")
    page.choose_files("#files", tmp_path / "notes.png")
    page.wait_for("document.querySelector('#message').className === 'bad'")
    assert "not an image" in page.evaluate("document.querySelector('#message').textContent")
    page.choose_files("#files", save_photo(tmp_path / "<b>two.png"))
    page.wait_for("document.querySelectorAll('#photos button').length === 2")
    assert page.evaluate("document.querySelector('#photos b')") is None
