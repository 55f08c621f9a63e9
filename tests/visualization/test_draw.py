from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from centermask_runtime.palette import class_colour
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.visualization import fonts
from maskrcnn_benchmark.visualization.draw import (
    as_instances,
    as_rgb,
    draw_instances,
    select_by_score,
)
from tests.factories import random_boxlist, target_with_masks

BOLD = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"))
NAMES = {1: "cat", 2: "dog", 3: "cow"}


def photo(size_wh=(120, 90), seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size_wh[::-1], 3), dtype=np.uint8))


def one_box(corners=(20, 30, 79, 69), size_wh=(120, 90), label=1):
    boxes = BoxList([corners], size_wh)
    boxes.add_field("labels", torch.tensor([label]))
    return boxes


def with_full_mask(boxes):
    boxes.add_field("mask", torch.ones(len(boxes), 1, 28, 28))
    return boxes


def test_without_instances_the_photo_is_unchanged():
    image = photo()
    drawn = draw_instances(image, random_boxlist(0), NAMES)
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(image))


def test_pixels_far_from_instances_are_unchanged():
    image = photo()
    drawn = draw_instances(image, with_full_mask(one_box()), NAMES)
    before, after = np.asarray(image), np.asarray(drawn)
    np.testing.assert_array_equal(after[:, 90:], before[:, 90:])
    np.testing.assert_array_equal(after[80:], before[80:])


def test_masks_are_filled_with_the_colour_of_their_instance():
    black = Image.new("RGB", (120, 90))
    drawn = np.asarray(draw_instances(black, with_full_mask(one_box()), NAMES))
    inside = drawn[50:60, 40:60].reshape(-1, 3)
    expected = np.array(class_colour(1)) * 0.42
    np.testing.assert_allclose(inside, np.tile(expected, (len(inside), 1)), atol=1)


def test_boxes_without_masks_are_framed_only():
    black = Image.new("RGB", (120, 90))
    drawn = np.asarray(draw_instances(black, one_box(), NAMES))
    assert not drawn[50:60, 40:60].any()
    assert drawn[69, 40].any()


def test_masks_and_boxes_of_a_resized_image_are_scaled_to_the_photo():
    black = Image.new("RGB", (120, 90))
    same = draw_instances(black, with_full_mask(one_box()), NAMES)
    half = with_full_mask(one_box((10, 15, 39.5, 34.5), (60, 45)))
    scaled = draw_instances(black, half, NAMES)
    np.testing.assert_array_equal(np.asarray(same), np.asarray(scaled))


def test_the_arguments_are_left_as_they_are():
    image, boxes = photo(), target_with_masks(3)
    before, corners = np.asarray(image).copy(), boxes.bbox.clone()
    draw_instances(image, boxes, NAMES)
    np.testing.assert_array_equal(np.asarray(image), before)
    torch.testing.assert_close(boxes.bbox, corners, rtol=0, atol=0)
    assert boxes.size == (120, 90)


def test_instances_of_a_class_have_its_colour_whatever_else_is_there():
    black, one = Image.new("RGB", (120, 90)), with_full_mask(one_box((60, 40, 100, 80)))
    two = BoxList([(5, 10, 30, 35), (60, 40, 100, 80)], (120, 90))
    two.add_field("labels", torch.tensor([1, 1]))
    alone = np.asarray(draw_instances(black, one, NAMES))
    together = np.asarray(draw_instances(black, with_full_mask(two), NAMES))
    np.testing.assert_array_equal(alone[42:, 50:], together[42:, 50:])


@pytest.mark.parametrize("names", [("Кошка", "Собака"), ("Hündin", "Hûndin"), ("γάτα", "γάδα")])
def test_names_in_other_scripts_can_be_told_apart(names):
    pictures = [draw_instances(Image.new("RGB", (120, 90)), one_box(), {1: one}) for one in names]
    assert pictures[0].tobytes() != pictures[1].tobytes()


@pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="OpenCV 4 has no font of its own")
@pytest.mark.parametrize("names", [("螺栓", "齿轮"), ("나사", "너트"), ("ねじ", "歯車")])
def test_names_that_no_file_has_are_written_in_the_font_of_opencv(names, monkeypatch):
    monkeypatch.setattr(fonts, "_installed_fonts", tuple)
    fonts.font_file_for.cache_clear()
    pictures = [draw_instances(Image.new("RGB", (120, 90)), one_box(), {1: one}) for one in names]
    fonts.font_file_for.cache_clear()
    assert pictures[0].tobytes() != pictures[1].tobytes()
    # Light letters on a chip in the colour of the class.
    rows = np.asarray(pictures[0])[:30].reshape(-1, 3)
    assert (np.abs(rows.astype(int) - class_colour(1)).sum(axis=1) < 6).sum() > 100
    assert (rows.min(axis=1) > 190).sum() > 5


def test_a_name_that_no_font_can_show_becomes_its_number_with_one_warning(monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_installed_fonts", tuple)
    fonts.font_file_for.cache_clear()
    photo = Image.new("RGB", (120, 90))
    shown = [draw_instances(photo, one_box(), {1: "\U0001f431"}) for _ in range(3)]
    fonts.font_file_for.cache_clear()
    assert shown[0].tobytes() == draw_instances(photo, one_box(), {1: "1"}).tobytes()
    assert len([record for record in caplog.records if "\U0001f431" in record.getMessage()]) == 1


def test_a_named_font_is_used_and_one_that_is_none_is_refused(tmp_path):
    photo = Image.new("RGB", (120, 90))
    drawn = [draw_instances(photo, one_box(), NAMES, font=font) for font in (None, BOLD)]
    assert drawn[0].tobytes() != drawn[1].tobytes()
    (tmp_path / "no.ttf").write_bytes(b"no font")
    with pytest.raises(ConfigError, match=r"no\.ttf"):
        draw_instances(photo, one_box(), NAMES, font=str(tmp_path / "no.ttf"))


def test_arrays_are_photos_too():
    image, boxes = photo(), target_with_masks(3)
    first = draw_instances(image, boxes, NAMES)
    second = draw_instances(np.asarray(image), boxes, NAMES)
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_drawing_twice_gives_the_same_picture():
    image, boxes = photo(), target_with_masks(6)
    first, second = (draw_instances(image, boxes, NAMES) for _ in range(2))
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_detections_below_the_threshold_are_not_drawn():
    image, boxes = photo(), random_boxlist(4)
    boxes.add_field("scores", torch.tensor([0.1, 0.2, 0.3, 0.49]))
    drawn = draw_instances(image, boxes, NAMES, score_threshold=0.5)
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(image))


@pytest.mark.parametrize(
    ("corners", "around"),
    [
        ((200, 200, 250, 250), (95, 70, 120, 90)),
        ((60, 40, 60, 40), (55, 25, 85, 45)),
        ((50, 50, 10, 10), (45, 35, 75, 55)),
    ],
    ids=["outside", "a-point", "inverted"],
)
def test_boxes_out_of_the_image_or_degenerate_show_their_label_alone(corners, around):
    black = Image.new("RGB", (120, 90))
    drawn = np.asarray(draw_instances(black, with_full_mask(one_box(corners)), NAMES))
    rows, columns = drawn.any(axis=2).nonzero()
    left, top, right, bottom = around
    assert left <= columns.min() <= columns.max() < right
    assert top <= rows.min() <= rows.max() < bottom


def test_a_box_larger_than_the_photo_fills_it():
    image = photo()
    drawn = draw_instances(image, with_full_mask(one_box((-50, -50, 300, 300))), NAMES)
    expected = 0.58 * np.asarray(image, float) + 0.42 * np.array(class_colour(1))
    # Below the label, inside the frame; rounded where it is painted and where it is reduced.
    inside = np.s_[20:85, 5:115]
    np.testing.assert_allclose(np.asarray(drawn)[inside], expected[inside], atol=1)


@pytest.mark.parametrize("size_wh", [(1, 1), (3, 200), (2600, 2400)])
def test_photos_of_any_size(size_wh):
    boxes = with_full_mask(one_box((0, 0, 2, 2), size_wh))
    drawn = draw_instances(Image.new("RGB", size_wh), boxes, NAMES)
    assert drawn.size == size_wh
    pixels = np.asarray(drawn).any(axis=2)
    assert pixels[0, 0]
    # A letter is at most a twentieth of the shorter side high, but can be read.
    far = max(12, min(size_wh) // 20)
    assert not pixels[far:].any()
    assert not pixels[:, far:].any()


def test_grey_photos_and_labels_without_a_name():
    grey = photo().convert("L")
    drawn = draw_instances(grey, one_box(label=99), NAMES)
    expected = draw_instances(grey.convert("RGB"), one_box(label=99), {99: "99"})
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(expected))


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)], ids=["shape", "type"]
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match=r"\(h, w, 3\) uint8"):
        as_rgb(array)


def test_selection_is_sorted_and_includes_the_threshold():
    boxes = random_boxlist(4)
    boxes.add_field("scores", torch.tensor([0.5, 0.25, 0.75, 0.5]))
    selected = select_by_score(boxes, 0.5)
    assert selected.get_field("scores").tolist() == [0.75, 0.5, 0.5]
    torch.testing.assert_close(selected.bbox, boxes.bbox[[2, 0, 3]], rtol=0, atol=0)


def test_ground_truth_has_no_scores_to_select_by():
    assert len(select_by_score(target_with_masks(3), 0.9)) == 3


def test_proposals_become_instances_of_one_class():
    proposals = BoxList([[0, 0, 5, 5], [1, 1, 9, 9]], (20, 10))
    proposals.add_field("objectness", torch.tensor([0.25, 0.75]))
    instances = as_instances(proposals)
    assert instances.labels.tolist() == [1, 1]
    assert instances.scores.tolist() == [0.25, 0.75]
    assert as_instances(instances) is instances
