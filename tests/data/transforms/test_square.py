import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.data.transforms import ResizeToSquare, ToFloats, ToImage, ToNormalized
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import PixelNormalizer
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.factories import rectangle


def make_target():
    """Two rectangles in a photo of 40 x 20 px."""
    edges = torch.tensor([[4.0, 2, 20, 12], [0, 0, 40, 20]])
    target = BoxList(edges - torch.tensor([0, 0, 1, 1]), (40, 20))
    target.add_field("labels", torch.tensor([3, 1]))
    polygons = [[rectangle(*box)] for box in edges.tolist()]
    target.add_field("masks", SegmentationMask(polygons, (40, 20)))
    return target


def test_aspect_ratio_goes_and_edges_stay_in_their_places():
    image = np.random.default_rng(0).random((20, 40, 3), dtype=np.float32)
    squeezed, target = ResizeToSquare(80)(image, make_target())
    assert squeezed.shape == (80, 80, 3)
    # Twice as wide, four times as high: the last pixel is one before the edge.
    assert target.bbox.tolist() == [[8, 8, 39, 47], [0, 0, 79, 79]]
    assert target.labels.tolist() == [3, 1]
    assert target.size == target.get_field("masks").size == (80, 80)


def test_pixels_are_read_at_half_pixel_centres_without_averaging():
    row = np.repeat(np.arange(8, dtype=np.float32)[None, :, None], 3, axis=2).repeat(8, axis=0)
    squeezed, _ = ResizeToSquare(2)(row)
    assert squeezed[0, :, 0].tolist() == [1.5, 5.5]
    # Averaging would not miss these columns.
    row[:, [0, 3, 4, 7]] = 1000
    assert ResizeToSquare(2)(row)[0].max() == 5.5


def test_bitmaps_are_resized_as_images_of_bytes():
    _, target = ToFloats(with_bitmaps=True)(Image.new("RGB", (40, 20)), make_target())
    bitmaps = target.get_field("masks").to_bitmasks()
    _, resized = ResizeToSquare(15)(np.zeros((20, 40, 3), dtype=np.float32), target)
    for mask, bitmap in zip(resized.get_field("masks").to_bitmasks(), bitmaps, strict=True):
        expected = cv2.resize(bitmap.numpy().astype(np.uint8), (15, 15))
        assert np.array_equal(mask.numpy(), expected > 0)


def test_other_fields_follow_and_empty_boxes_go():
    target = BoxList([[2, 2, 1, 5], [2, 2, 5, 5]], (8, 8))
    points = torch.ones(2, len(PersonKeypoints.NAMES), 3)
    target.add_field("keypoints", PersonKeypoints(points, (8, 8)))
    _, found = ResizeToSquare(16)(np.zeros((8, 8, 3), dtype=np.float32), target)
    assert found.bbox.tolist() == [[4, 4, 11, 11]]
    assert found.get_field("keypoints").keypoints[0, 0].tolist() == [2, 2, 1]
    empty = BoxList(torch.zeros(0, 4), (8, 8))
    empty.add_field("masks", SegmentationMask(torch.zeros(0, 8, 8), (8, 8), mode="mask"))
    assert len(ResizeToSquare(16)(np.zeros((8, 8, 3), dtype=np.float32), empty)[1]) == 0


@pytest.mark.parametrize("pixel_offset", [0, 1])
def test_boxes_keep_their_convention(pixel_offset):
    target = make_target().with_pixel_offset(pixel_offset)
    _, found = ResizeToSquare(80)(np.zeros((20, 40, 3), dtype=np.float32), target)
    assert found.pixel_offset == pixel_offset
    assert found.with_pixel_offset(0).bbox.tolist() == [[8, 8, 40, 48], [0, 0, 80, 80]]


def test_a_side_that_is_none():
    with pytest.raises(ValueError, match="at least 1"):
        ResizeToSquare(0)


def test_floats_and_back():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    floats, _ = ToFloats(with_bitmaps=False)(Image.fromarray(pixels))
    assert np.array_equal(np.asarray(ToImage()(floats)[0]), pixels)
    assert np.asarray(ToImage()(floats * 0 + 300.4)[0]).max() == 255


@pytest.mark.parametrize("to_bgr255", [False, True])
def test_normalized_floats_are_normalised_pixels(to_bgr255):
    normalizer = PixelNormalizer((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), to_bgr255)
    pixels = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    floats = pixels.permute(1, 2, 0).numpy().astype(np.float32)
    found, _ = ToNormalized(normalizer)(floats)
    torch.testing.assert_close(found, normalizer(pixels[None], [(5, 7)])[0])
