"""docs/comparison.md and its picture, from a few numbers made up."""

import itertools

import pytest
from matplotlib.text import Annotation
from PIL import Image

from benchmarks.inference.systems import System
from docs import comparison, comparison_plot
from docs.comparison_plot import Panel, Point


def system(name, **more):
    family, _, label = name.partition(" ")
    values = {"config": "a.yaml", "mask_ap": 30.0, "split": "test-dev", "published_ms": 20.0,
              "gpu": "Titan Xp", "multiply_adds": 82e9, **more}  # fmt: skip
    return System(name=name, family=family, label=label, **values)


def entry(plain, bf16, masks=100):
    modes = {
        mode: {"median": ms, "p90": ms + 10, "masks": [masks]}
        for mode, ms in (("plain", plain), ("bf16", bf16))
    }
    conditions = {"machine": "a machine.", "threads": 2, "rounds": 3}
    return {"modes": modes, "input_hw": [800, 1088], "left_out": {}, "conditions": conditions,
            "when": "a day", "load": "load average 1.5", "product_ms": [40.2, 43.9]}  # fmt: skip


SYSTEMS = [
    system("A R-50", mask_ap=31.2),
    system("A R-101", split="val2017", gpu="V100"),
    system("B R-50", config=None, multiply_adds=None),
    system("C R-50", published_ms=None, gpu=None),
]
ENTRIES = {"A R-50": entry(400.4, 100.2), "A R-101": entry(500.0, 600.0, masks=99)}


def test_the_table_names_the_source_of_every_number():
    lines = comparison.page(SYSTEMS, ENTRIES).splitlines()
    first = "| A R-50 | 31.2 | test-dev | 1088 x 800 | 82 "
    assert f"{first}| 400 (410) | **100 (110)** | bf16 | 20 | Titan Xp |" in lines
    second = "| A R-101 | 30.0 | val2017 | 1088 x 800 | 82 "
    assert f"{second}| 500 (510) | **500 (510)** | plain | 20 | V100 |" in lines
    assert "| B R-50 | 30.0 | test-dev | - | - | - | - | - | 20 | Titan Xp |" in lines
    assert "| C R-50 | 30.0 | test-dev | - | 82 | - | - | - | - | - |" in lines


def test_the_page_says_what_is_not_there():
    text = comparison.page(SYSTEMS, ENTRIES)
    assert "Not timed yet: C R-50." in text
    assert "no configuration of this package builds them: B R-50." in text
    assert "A R-101 found other than 100 masks: 99 in plain, 99 in bf16." in text
    assert "took 40 to 44 ms" in text
    left_out = {**ENTRIES["A R-50"], "left_out": {"int8": "there is none"}}
    assert (
        "A R-50 was not timed in the mode int8, with these weights: there is none."
        in comparison.page(SYSTEMS, {"A R-50": left_out})
    )


def test_panels_show_the_fastest_mode_and_the_published_times():
    here, published = comparison.panels(SYSTEMS, ENTRIES)
    assert here.points == [
        Point("A", "R-50", 100.2, 31.2, False),
        Point("A", "R-101 (plain)", 500.0, 30.0, True),
    ]
    assert [(point.label, point.ms) for point in published.points] == [
        ("R-50", 20.0),
        ("R-101 (V100)", 20.0),
        ("B R-50", 20.0),
    ]


def test_overlap_by_hand():
    assert comparison_plot.overlap((0, 0, 4, 3), (2, 1, 9, 9)) == 2 * 2
    assert comparison_plot.overlap((0, 0, 4, 3), (4, 0, 9, 9)) == 0


@pytest.mark.parametrize("spread", [1.0, 0.02])
def test_labels_cover_neither_one_another_nor_points(spread):
    points = [
        Point(
            f"family {n % 4}", f"backbone-{n}", 100 * 2 ** (spread * n), 30 + spread * n % 3, False
        )
        for n in range(8)
    ]
    figure = comparison_plot.make_figure([Panel("times", points)])
    (axes,) = figure.axes
    texts = [each for each in axes.get_children() if isinstance(each, Annotation)]
    assert {text.get_text() for text in texts} == {point.label for point in points}
    boxes = [text.get_window_extent().extents for text in texts]
    for first, second in itertools.combinations(boxes, 2):
        assert comparison_plot.overlap(first, second) == pytest.approx(0, abs=1e-3)
    for box, point in itertools.product(boxes, points):
        x, y = axes.transData.transform((point.ms, point.ap))
        assert not (box[0] < x < box[2] and box[1] < y < box[3])


def test_without_numbers_there_is_an_empty_panel(tmp_path):
    path = tmp_path / "picture.png"
    comparison_plot.draw(comparison.panels(SYSTEMS, {}), path, "from nothing")
    with Image.open(path) as picture:
        assert picture.text[comparison_plot.SOURCE] == "from nothing"


def test_too_many_families_are_refused():
    points = [Point(str(n), "R-50", 10.0, 30.0, False) for n in range(99)]
    with pytest.raises(ValueError, match="99 families"):
        comparison_plot.make_figure([Panel("times", points)])


def test_the_committed_page_and_picture_are_of_the_committed_numbers():
    assert comparison.PAGE.read_text() == comparison.comparison(), "run: make docs"
    with Image.open(comparison.PICTURE) as picture:
        source = picture.text[comparison_plot.SOURCE]
    assert source == comparison.fingerprint(*comparison.read()), "run: make docs"
