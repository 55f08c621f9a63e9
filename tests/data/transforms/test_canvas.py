import random

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.transforms import (
    FitToCanvas,
    build_transforms,
    make_size_divisor,
    resize_first_pixels,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.photo_masks import PhotoMasks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.factories import rectangle


def ramp(width, height=4):
    """Columns that say where they are."""
    row = np.arange(width, dtype=np.float32)
    return np.repeat(np.tile(row, (height, 1))[..., None], 3, axis=2)


def make_target(width, height, boxes):
    target = BoxList(torch.tensor(boxes), (width, height), pixel_offset=0)
    target.add_field("labels", torch.arange(1, len(boxes) + 1))
    polygons = [[rectangle(*box)] for box in boxes]
    target.add_field("masks", SegmentationMask(polygons, (width, height)))
    target.add_field("keypoints", PersonKeypoints(torch.ones(len(boxes), 17, 3), (width, height)))
    return target


def test_the_first_pixels_lie_upon_one_another():
    """upstream: legacy-grid"""
    wide = resize_first_pixels(ramp(4), (4, 8))
    assert wide[0, :, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
    assert resize_first_pixels(ramp(6), (4, 3))[0, :, 0].tolist() == [0, 2, 4]
    image = ramp(5)
    assert resize_first_pixels(image, (4, 5)) is image


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"), [((480, 640), (48, 64)), ((5, 1), (64, 13)), ((1, 999), (1, 64))]
)
def test_one_side_fills_the_canvas(size_hw, expected_hw):
    image, target = FitToCanvas(64)(np.zeros((*size_hw, 3), dtype=np.float32))
    assert image.shape[:2] == expected_hw
    assert target is None


def test_halves_are_rounded_to_even_numbers():
    image, _ = FitToCanvas(128)(np.zeros((3, 256, 3), dtype=np.float32))
    assert image.shape[:2] == (2, 128)
    image, _ = FitToCanvas(128)(np.zeros((5, 256, 3), dtype=np.float32))
    assert image.shape[:2] == (2, 128)


def test_boxes_are_scaled_and_clipped_to_the_last_pixel_of_the_canvas():
    """upstream: canvas-clipping"""
    target = make_target(80, 40, [[0.0, 0, 80, 40], [8, 4, 8, 20], [10, 4, 30, 20]])
    _, placed = FitToCanvas(40)(np.zeros((40, 80, 3), dtype=np.float32), target)
    assert placed.size == (40, 20)
    assert placed.bbox.tolist() == [[0, 0, 39, 20], [5, 2, 15, 10]]
    assert placed.labels.tolist() == [1, 3]
    assert placed.pixel_offset == 0
    masks = placed.get_field("masks")
    assert isinstance(masks, PhotoMasks)
    assert masks.masks.size == (80, 40)
    assert masks.size == placed.get_field("keypoints").size == (40, 20)


def test_what_is_too_large_is_cut_at_a_random_place():
    image = ramp(40, 20)
    seen = set()
    for seed in range(30):
        target = make_target(40, 20, [[10.0, 5, 30, 15]])
        cut, placed = FitToCanvas(40, (1.2, 1.2))(image, target, random.Random(seed))
        # 48 x 24 px, of which 40 x 24 are left.
        assert cut.shape[:2] == (24, 40)
        offset = round(float(cut[0, 0, 0]) * 48 / 40)
        seen.add(offset)
        assert placed.bbox.tolist() == [[12 - offset, 6, 36 - offset, 18]]
        assert placed.get_field("masks").read(placed.bbox + torch.tensor([1.0, 1, -1, -1]), 4).all()
    assert seen == set(range(8))


def test_smaller_photos_are_not_cut():
    target = make_target(40, 20, [[10.0, 5, 30, 15]])
    small, placed = FitToCanvas(40, (0.8, 0.8))(ramp(40, 20), target, random.Random(0))
    assert small.shape[:2] == (16, 32)
    assert placed.bbox.tolist() == [[8, 4, 24, 12]]


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="side"):
        FitToCanvas(0)
    with pytest.raises(ValueError, match="scales"):
        FitToCanvas(8, (1.2, 0.8))
    cfg = get_default_config()
    cfg.merge_from_list(["INPUT.RESIZE_RULE", "canvas", "INPUT.MIN_SIZE_TEST", 640])
    for scales in [(1.0,), (1.2, 0.8), (0.0, 1.0)]:
        cfg.merge_from_list(["INPUT.CANVAS_SCALES_TRAIN", scales])
        with pytest.raises(ConfigError, match=r"^INPUT\.CANVAS_SCALES_TRAIN"):
            build_transforms(cfg, is_train=True)


@pytest.mark.parametrize(("side", "divisor"), [(640, 640), (1024, 1024), (400, 512)])
def test_batches_are_padded_to_the_canvas(side, divisor):
    cfg = get_default_config()
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", side, "DATALOADER.SIZE_DIVISIBILITY", 32])
    assert make_size_divisor(cfg) == 32
    cfg.INPUT.RESIZE_RULE = "canvas"
    assert make_size_divisor(cfg) == divisor
