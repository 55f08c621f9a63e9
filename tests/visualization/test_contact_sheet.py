import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.visualization.contact_sheet import SheetPhoto, contact_sheet
from tests.factories import blob_probabilities, random_boxlist, target_with_masks

NAMES = {1: "cat", 2: "dog", 3: "cow"}


def sheet_photo(size_wh=(120, 90), caption="a photo", colour=(200, 30, 30), num_boxes=2):
    detections = random_boxlist(num_boxes, size_wh)
    detections.add_field("mask", blob_probabilities(num_boxes))
    truth = target_with_masks(num_boxes, size_wh)
    return SheetPhoto(Image.new("RGB", size_wh, colour), detections, truth, caption)


def blobs_of(sheet, colour):
    """Number of separate column ranges in which ``colour`` occurs."""
    hit = (np.asarray(sheet) == np.array(colour)).all(axis=2).any(axis=0)
    return int((np.diff(np.concatenate([[0], hit.astype(int)])) == 1).sum())


def test_each_photo_is_there_twice():
    photos = [sheet_photo(num_boxes=0)]
    sheet = contact_sheet(photos, NAMES, "title", num_columns=1)
    assert blobs_of(sheet, (200, 30, 30)) == 2


def test_two_photos_in_a_row_then_a_new_row():
    one = contact_sheet([sheet_photo()], NAMES, "title")
    two = contact_sheet([sheet_photo()] * 2, NAMES, "title")
    three = contact_sheet([sheet_photo()] * 3, NAMES, "title")
    assert one.size == two.size
    assert three.width == two.width
    assert three.height > two.height


def test_portraits_and_landscapes_fit():
    photos = [sheet_photo((50, 500)), sheet_photo((500, 50)), sheet_photo((1, 1))]
    sheet = contact_sheet(photos, NAMES, "title")
    assert sheet.height < 1400


def test_photos_without_instances_and_long_captions():
    sheet_photos = [sheet_photo(num_boxes=0, caption="word " * 100)]
    assert contact_sheet(sheet_photos, NAMES, "title", "subtitle").width > 900


def test_no_photos_give_a_sheet_with_a_title():
    assert np.asarray(contact_sheet([], NAMES, "title")).std() > 0


def test_no_columns_are_refused():
    with pytest.raises(ValueError, match=r"num_columns.* 0"):
        contact_sheet([], NAMES, "title", num_columns=0)
