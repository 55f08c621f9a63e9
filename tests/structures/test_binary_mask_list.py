import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.structures.binary_mask_list import (
    BinaryMaskList,
    decode_rle,
    mask_to_polygons,
    stack_masks,
)
from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
)
from maskrcnn_benchmark.structures.polygon_list import PolygonList

# Rows of a 4 x 3 (w x h) mask.
MASK = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]).bool()
# Its runs down the columns: 3 zeros, 2 ones (column 1), 1 zero, 1 one (column 2), 4 zeros, 1 one.
COUNTS = [3, 2, 1, 1, 4, 1]


def masks(*each):
    return BinaryMaskList(torch.stack(each or (MASK,)), (4, 3))


def test_masks_are_bool():
    bitmaps = BinaryMaskList(7 * MASK[None].byte(), (4, 3))
    assert_close(bitmaps.masks, MASK[None])
    assert bitmaps.to_bitmasks() is bitmaps.masks
    assert repr(bitmaps) == "BinaryMaskList(num_instances=1, size=(4, 3))"


@pytest.mark.parametrize("shape", [(3, 4), (1, 4, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(K, 3, 4\)"):
        BinaryMaskList(torch.zeros(shape), (4, 3))


def test_flips():
    assert_close(masks().transpose(FLIP_LEFT_RIGHT).masks, MASK.flip(1)[None])
    assert_close(masks().transpose(FLIP_TOP_BOTTOM).masks, MASK.flip(0)[None])
    assert_close(masks().transpose(FLIP_DIAGONAL).masks, MASK.T[None])
    assert masks().transpose(FLIP_DIAGONAL).size == masks().size[::-1]


def test_resize_up_repeats_and_down_again_restores():
    enlarged = masks().resize((16, 12))
    assert enlarged.size == (16, 12)
    assert enlarged.masks.sum().item() == pytest.approx(16 * MASK.sum().item(), rel=0.15)
    assert_close(enlarged.resize((4, 3)).masks, MASK[None])


def test_resize_keeps_the_area_of_soft_edges():
    """upstream: bitmap-resize."""
    half = torch.zeros(1, 40, 40, dtype=torch.bool)
    half[:, :, :20] = True
    resized = BinaryMaskList(half, (40, 40)).resize((50, 40))
    assert resized.masks[0, 0].sum() == 25


def test_crop_cuts_and_pads_with_nothing():
    cropped = masks().crop((1.2, -1.0, 5.4, 1.9))
    assert cropped.size == (4, 3)
    assert cropped.masks[0].int().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert masks().crop((2, 1, 2, 1)).size == (1, 1)


def test_indexing():
    several = masks(MASK, ~MASK, MASK)
    assert_close(several[1].masks, ~MASK[None])
    assert len(several[torch.tensor([True, False, True])]) == 2
    assert len(several[[]]) == 0


def test_no_instances():
    empty = BinaryMaskList(torch.zeros(0, 3, 4), (4, 3))
    for changed in (empty.resize((2, 2)), empty.crop((0, 0, 2, 2)), empty.transpose(0)):
        assert len(changed) == 0
    assert empty.to_polygons() == []


def test_to_another_device():
    assert masks().to("meta").masks.device.type == "meta"


@pytest.mark.parametrize("kind", ["list", "bytes", "str"])
def test_rle_of_each_kind(kind):
    rle = {"size": [3, 4], "counts": COUNTS}
    if kind != "list":
        rle = mask_utils.frPyObjects(rle, 3, 4)
    if kind == "str":
        rle["counts"] = rle["counts"].decode()
    np.testing.assert_array_equal(decode_rle(rle, (4, 3)), MASK.numpy())


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [4, 3], "counts": COUNTS}, r"\[4, 3\].*\[3, 4\]"),
        ({"size": [3, 4], "counts": [3, 2]}, r"\b5\b.*\b3\b"),
    ],
)
def test_an_rle_of_another_size_is_refused(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(rle, (4, 3))


def test_malformed_compressed_counts_are_refused():
    with pytest.raises(ValueError, match=r"RLE"):
        decode_rle({"size": [3, 4], "counts": "zzzz1"}, (4, 3))


def test_stack_of_nothing():
    assert stack_masks([], (4, 3)).shape == (0, 3, 4)
    assert_close(stack_masks([MASK.numpy()], (4, 3)), MASK[None])


def test_polygons_of_a_pixel():
    mask = np.zeros((5, 5), dtype=bool)
    assert mask_to_polygons(mask) == []
    mask[2, 3] = True
    (polygon,) = mask_to_polygons(mask)
    assert sorted(zip(polygon[0::2], polygon[1::2], strict=True)) == [
        (3.25, 2.25),
        (3.25, 2.75),
        (3.75, 2.25),
        (3.75, 2.75),
    ]


def test_polygons_rasterise_to_the_mask():
    generator = np.random.default_rng(0)
    for density in (0.05, 0.2, 0.4):
        # Isolated pixels, thin lines and corners that touch, but no holes.
        mask = generator.random((30, 40)) < density
        mask = PolygonList([mask_to_polygons(mask)], (40, 30)).to_bitmasks()[0].numpy()
        again = PolygonList([mask_to_polygons(mask)], (40, 30)).to_bitmasks()[0].numpy()
        np.testing.assert_array_equal(again, mask)


def test_polygons_fill_holes():
    ring = np.ones((5, 5), dtype=bool)
    ring[2, 2] = False
    filled = PolygonList([mask_to_polygons(ring)], (5, 5)).to_bitmasks()[0]
    assert filled.all()
