"""SSD's augmentation; a scripted generator says what is drawn."""

import colorsys
import random

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.data.transforms import (
    AUGMENTATIONS,
    PhotometricDistortion,
    RandomCrop,
    RandomExpansion,
    build_training_transforms,
    build_transforms,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


class Scripted(random.Random):
    """Draws what it is told: fractions of the range for ``uniform``, numbers for the others."""

    def __init__(self, *drawn):
        self.drawn = list(drawn)
        super().__init__()

    def random(self):
        return self.drawn.pop(0)

    def uniform(self, a, b):
        return a + (b - a) * self.drawn.pop(0)

    def randrange(self, *_):
        return self.drawn.pop(0)


YES, NO = 0.0, 0.9


def make_target(edges, labels, size):
    edges = torch.tensor(edges, dtype=torch.float32)
    target = BoxList(edges - torch.tensor([0, 0, 1, 1]), size)
    target.add_field("labels", torch.tensor(labels))
    masks = torch.zeros(len(edges), size[1], size[0], dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, edges.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    target.add_field("masks", SegmentationMask(masks, size, mode="mask"))
    return target


def edges_of(target):
    return (target.bbox + torch.tensor([0, 0, 1, 1])).tolist()


def assert_masks_fill_boxes(target):
    for box, mask in zip(edges_of(target), target.get_field("masks").to_bitmasks(), strict=True):
        rows, columns = mask.nonzero().T
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert [int(x) for x in found] == box


def test_brightness_and_contrast_are_not_clipped():
    image = np.full((1, 1, 3), 250, dtype=np.float32)
    # + 32, contrast before the other colours, * 1.5, no saturation, no hue.
    changed, _ = PhotometricDistortion()(image, None, Scripted(YES, 1.0, YES, YES, 1.0, NO, NO))
    assert changed.flatten().tolist() == pytest.approx([282 * 1.5] * 3)


def test_saturation_and_hue_by_the_standard_library():
    image = np.array([[[200.0, 40.0, 90.0]]], dtype=np.float32)
    # No brightness, contrast afterwards and not drawn; saturation * 0.5, hue + 18 degrees.
    changed, _ = PhotometricDistortion()(image, None, Scripted(NO, NO, YES, 0.0, YES, 1.0, NO))
    hue, saturation, value = colorsys.rgb_to_hsv(*(image[0, 0] / 255).tolist())
    expected = colorsys.hsv_to_rgb((hue + 18 / 360) % 1, saturation / 2, value)
    assert changed[0, 0].tolist() == pytest.approx([255 * x for x in expected], abs=0.01)


def test_contrast_may_come_last():
    image = np.array([[[100.0, 50.0, 50.0]]], dtype=np.float32)
    changed, _ = PhotometricDistortion()(image, None, Scripted(NO, NO, NO, NO, YES, 0.0))
    assert changed[0, 0].tolist() == pytest.approx([50, 25, 25], abs=0.01)


def test_expansion_by_hand():
    image = np.ones((10, 20, 3), dtype=np.float32)
    target = make_target([[2, 3, 12, 9]], [1], (20, 10))
    # Three times the sides; the photo a quarter of the free 40 px from the left, half from the top.
    rng = Scripted(YES, 2 / 3, 0.25, 0.5)
    canvas, found = RandomExpansion((7.0, 8.0, 9.0))(image, target, rng)
    assert canvas.shape == (30, 60, 3)
    assert canvas[0, 0].tolist() == [7, 8, 9]
    assert (canvas[10:20, 10:30] == 1).all()
    assert (canvas != 1).any(axis=2).sum() == 60 * 30 - 200
    assert found.size == (60, 30)
    assert edges_of(found) == [[12, 13, 22, 19]]
    assert_masks_fill_boxes(found)
    assert RandomExpansion((7.0, 8.0, 9.0))(image, target, Scripted(NO))[1] is target


def test_the_canvas_has_the_mean_colour():
    cfg = get_default_config()
    colour = AUGMENTATIONS["expand"](cfg).colour
    assert colour == pytest.approx((122.7717, 115.9465, 102.9801))
    cfg.merge_from_list(["INPUT.TO_BGR255", False, "INPUT.PIXEL_MEAN", [0.2, 0.4, 0.6]])
    assert AUGMENTATIONS["expand"](cfg).colour == pytest.approx((51, 102, 153))


def test_crop_by_hand():
    """upstream: unchecked-crop"""
    image = np.arange(20 * 20 * 3, dtype=np.float32).reshape(20, 20, 3)
    target = make_target([[1, 1, 11, 11], [0, 0, 4, 4], [8, 8, 20, 20]], [1, 2, -1], (20, 20))
    # Case 3, a part of 10.5 x 10.5 px (4.5/14 of the way from 6 to 20) at 5.2, 5.2: its whole px
    # are 5..14. Centres lie at 6, 2 and 14.
    drawn = [3, 4.5 / 14, 4.5 / 14, 5.2 / 9.5, 5.2 / 9.5]
    found_image, found = RandomCrop()(image, target, Scripted(*drawn))
    assert np.array_equal(found_image, image[5:15, 5:15])
    assert found.labels.tolist() == [1, -1]
    assert edges_of(found) == [[0, 0, 6, 6], [3, 3, 10, 10]]
    assert_masks_fill_boxes(found)


def test_a_part_without_objects_or_of_another_shape_is_drawn_again():
    image = np.zeros((20, 20, 3), dtype=np.float32)
    target = make_target([[0, 0, 4, 4], [8, 8, 20, 20]], [2, -1], (20, 20))
    share = 4 / 14 + 1e-6
    drawn = [3, 1.0, 0.0, share, share, 0.5, 0.5, 1.0, 1.0, 0.0, 0.0]
    # Too wide; a crowd alone; then all of it.
    _, found = RandomCrop()(image, target, Scripted(*drawn))
    assert found.labels.tolist() == [2, -1]
    # After so many tries another case is drawn, here the one that leaves all as it is.
    drawn = [5, share, share, 0.5, 0.5, 0]
    assert RandomCrop(num_tries=1)(image, target, Scripted(*drawn))[1] is target


def test_photos_without_objects_are_not_cropped():
    image = np.zeros((20, 20, 3), dtype=np.float32)
    crowd = make_target([[0.0, 0, 9, 9]], [-1], (20, 20))
    for target in (crowd, crowd[:0], BoxList(torch.zeros(0, 4), (20, 20))):
        assert RandomCrop()(image, target)[0] is image


@pytest.mark.parametrize("rule", ["square", "shorter_side"])
def test_all_of_them_with_every_rule(rule):
    cfg = get_default_config()
    names = ("photometric", "expand", "crop")
    cfg.merge_from_list(["INPUT.AUGMENTATIONS_TRAIN", names, "INPUT.RESIZE_RULE", rule])
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MAX_SIZE_TRAIN", 64])
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", 32, "INPUT.VERTICAL_FLIP_PROB_TRAIN", 0.5])
    cfg.merge_from_list(["INPUT.DIAGONAL_FLIP_PROB_TRAIN", 0.5, "INPUT.BRIGHTNESS", 0.4])
    transforms = build_transforms(cfg)
    target = make_target([[2, 2, 20, 25], [10, 5, 38, 28]], [1, 2], (40, 30))
    for seed in range(20):
        photo = Image.new("RGB", (40, 30), (90, 120, 200))
        image, found = transforms(photo, target, random.Random(seed))
        again, _ = transforms(photo, target, random.Random(seed))
        assert torch.equal(image, again)
        assert tuple(image.shape[1:]) == found.size[::-1] == found.get_field("masks").size[::-1]
        assert image.dtype == torch.float32
        assert len(found) > 0
        assert found.bbox.min() >= 0
        if rule == "square":
            assert found.size == (32, 32)


def test_a_batch_of_one_shape():
    """Squares always are; photos cut before the resize cannot be."""
    cfg = get_default_config()
    cfg.merge_from_list(["INPUT.SAME_SHAPE_IN_BATCH", True])
    cfg.merge_from_list(["INPUT.AUGMENTATIONS_TRAIN", ("crop",)])
    with pytest.raises(ConfigError, match="SAME_SHAPE_IN_BATCH"):
        build_training_transforms(cfg)
    cfg.INPUT.RESIZE_RULE = "square"
    of_batch, of_photo = build_training_transforms(cfg)
    assert of_batch.transforms == ()
    photo = Image.new("RGB", (40, 30))
    target = make_target([[2, 2, 20, 25]], [1], (40, 30))
    assert of_photo(photo, target, random.Random(0))[0].shape == (3, 800, 800)
