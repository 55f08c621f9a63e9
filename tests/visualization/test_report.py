import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from maskrcnn_benchmark.evaluation.result import METRIC_NAMES, EvaluationResult
from maskrcnn_benchmark.visualization.report import Picture, Report, render_report, write_report

VOID = {"meta", "img", "br", "link"}


def result(name):
    numbers = {metric: 12.34 for metric in METRIC_NAMES}
    return EvaluationResult(
        dataset=name,
        num_images=3,
        metrics={"bbox": numbers, "segm": {**numbers, "APs": None}},
        reasons={"segm": {"APs": "no ground truth of small area"}},
        per_class={
            task: {
                "cat": {"AP": 50.0, "AP50": 75.0, "num_gt": 4},
                "cow": {"AP": None, "AP50": None, "num_gt": 0},
            }
            for task in ("bbox", "segm")
        },
    )


def make_report(**changes):
    content = {
        "title": "A run <b>",
        "lead": "About it",
        "opening": Picture.from_photo(Image.new("RGB", (5, 4)), "unseen photos"),
        "facts": {"time": "0:05:00"},
        "notes": ["Trained on 3 photos."],
        "results": {"train": result("a"), "val": result("b")},
        "pictures": [Picture.from_photo(Image.new("RGB", (8, 6), "red"), "the sheet")],
        "curves": None,
        "config_text": "KEY: <value>",
        "next_steps": {"Draw": "predict <photo>"},
    }
    return Report(**{**content, **changes})


class Checker(HTMLParser):
    """Collects what a browser would load, and the tags left open."""

    def __init__(self):
        super().__init__()
        self.loaded, self.open, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


def test_the_file_needs_nothing_else_and_no_scripts():
    text = render_report(make_report())
    checker = check(text)
    assert all(address.startswith("data:image/") for address in checker.loaded)
    assert "script" not in checker.tags
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_numbers_reasons_and_notes_are_there():
    text = render_report(make_report())
    assert text.count("<td>12.3</td>") == 2 * 2 * 12 - 2
    assert text.count("<td>n/a</td>") == 2
    assert "train: n/a: segm APs: no ground truth of small area" in text
    assert "Trained on 3 photos." in text
    assert "0:05:00" in text


def test_categories_without_ground_truth_are_not_listed():
    text = render_report(make_report())
    assert "<th>cat</th>" in text
    assert "<th>cow</th>" not in text


def test_text_is_escaped():
    text = render_report(make_report())
    assert "A run &lt;b&gt;" in text
    assert "KEY: &lt;value&gt;" in text


def test_pictures_are_inside():
    text = render_report(make_report())
    sizes = []
    for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text):
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            sizes.append(image.size)
    assert sizes == [(5, 4), (8, 6)]


def test_the_page_opens_with_a_picture_and_ends_with_what_to_try():
    text = render_report(make_report())
    assert text.index("unseen photos") < text.index("0:05:00") < text.index("the sheet")
    assert text.index("All settings") < text.index("predict &lt;photo&gt;")


def test_pictures_of_files_keep_their_bytes(tmp_path):
    path = tmp_path / "curves.png"
    Image.new("RGB", (4, 4)).save(path)
    picture = Picture.from_file(path, "curves")
    assert picture == (path.read_bytes(), "image/png", "curves")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.png.*\.jpg.*\.jpeg.*a\.gif"):
        Picture.from_file(tmp_path / "a.gif", "caption")


def test_empty_sections_are_left_out(tmp_path):
    report = make_report(pictures=[], notes=[], results={}, facts={})
    path = write_report(tmp_path / "report.html", report)
    text = path.read_text()
    check(text)
    assert "<h2>More pictures</h2>" not in text
    assert "<h2>Losses</h2>" not in text
