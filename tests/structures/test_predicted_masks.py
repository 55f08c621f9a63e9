"""Kinds of predicted masks as fields of boxes: what is kept of them, whatever happens."""

import pickle

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
    InstanceField,
)
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist
from maskrcnn_benchmark.structures.paste_rules import SUB_PIXEL_PASTE, InclusivePaste, PasteRule
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks, ImageMasks
from tests.factories import blob_probabilities, masks_in, random_boxes, random_boxlist
from tests.structures.prototype_masks import PrototypeMasks

SIZE = (60, 40)
COUNT = 4
BOXES = random_boxes(COUNT, SIZE)


def mixed_masks():
    """Windows of 1 to 15 px a side in boxes that are not the detections'."""
    windows = tuple(blob_probabilities(1, side, seed=side)[0] for side in (1, 5, 11, 15))
    return BoxMasks(windows, BOXES * 1.2 - 3, SIZE, SUB_PIXEL_PASTE)


def prototype_masks():
    prototypes = torch.randn(3, 10, 15, generator=torch.Generator().manual_seed(0))
    coefficients = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(1))
    return PrototypeMasks(prototypes, coefficients, BOXES / torch.tensor([*SIZE, *SIZE]), SIZE)


def image_masks(dtype):
    planes = masks_in(BoxList(BOXES, SIZE), blob_probabilities(COUNT)).planes()
    return ImageMasks(planes.to(dtype), SIZE)


KINDS = {
    "of one size": lambda: masks_in(BoxList(BOXES, SIZE), blob_probabilities(COUNT)),
    "of mixed sizes": mixed_masks,
    "bytes of the image": lambda: image_masks(torch.uint8),
    "bits of the image": lambda: image_masks(torch.bool),
    "a grid over the image": lambda: ImageMasks(blob_probabilities(COUNT, 20)[:, 0], SIZE),
    "prototypes": prototype_masks,
}
EVERY_KIND = pytest.mark.parametrize("masks", [make() for make in KINDS.values()], ids=KINDS)


def as_detections(masks):
    boxes = BoxList(BOXES, SIZE)
    boxes.add_field("mask", masks)
    return boxes


def same(found, expected):
    """Whether two BoxLists or masks have the same pixels."""
    found, expected = (getattr(one, "predicted_masks", one).planes() for one in (found, expected))
    assert expected.any()
    return torch.equal(found, expected)


@EVERY_KIND
def test_run_lengths_are_those_of_the_planes(masks):
    planes = masks.planes()
    assert planes.shape == (COUNT, SIZE[1], SIZE[0])
    assert len(set(planes.sum(dim=(1, 2)).tolist())) > 1
    stack = np.asfortranarray(planes.permute(1, 2, 0).numpy())
    texts = [rle["counts"].decode() for rle in mask_utils.encode(stack)]
    assert masks.encode() == [{"size": [SIZE[1], SIZE[0]], "counts": text} for text in texts]


@EVERY_KIND
def test_an_index_means_what_it_means_for_the_boxes(masks):
    planes = masks.planes()
    boxes = as_detections(masks)
    items = [-1, slice(1, 3), [2, 0, 2], torch.tensor([3, 1]), BOXES[:, 0] > BOXES[0, 0], []]
    for item in items:
        kept = boxes[item]
        expected = planes[[item]] if isinstance(item, int) else planes[item]
        assert torch.equal(kept.predicted_masks.planes(), expected)
        assert len(kept.predicted_masks) == len(kept)
        assert type(kept.predicted_masks) is type(masks)


@EVERY_KIND
def test_parts_are_joined_in_order(masks):
    boxes = as_detections(masks)
    assert same(cat_boxlist([boxes[:1], boxes[1:1], boxes[1:]]), boxes)
    assert same(cat_boxlist([boxes]), boxes)
    assert same(cat_boxlist([boxes[2:], boxes[:2]]), boxes[[2, 3, 0, 1]])


@EVERY_KIND
def test_masks_move_with_their_boxes(masks):
    boxes = as_detections(masks)
    assert same(boxes.to("cpu"), boxes)
    moved = boxes.to("meta").predicted_masks
    tensors = [one for one in vars(moved).values() if isinstance(one, torch.Tensor)]
    tensors += [one for value in vars(moved).values() if isinstance(value, tuple) for one in value]
    assert {one.device.type for one in tensors if isinstance(one, torch.Tensor)} == {"meta"}


@pytest.mark.gpu
@EVERY_KIND
def test_masks_on_a_gpu(masks):
    boxes = as_detections(masks).to("cuda")
    kept = cat_boxlist([boxes[[2, 0]], boxes[boxes.bbox[:, 0] < 0]]).resize((90, 50))
    assert kept.predicted_masks.encode() == masks[[2, 0]].resize((90, 50)).encode()
    assert same(kept.to("cpu"), kept)


@EVERY_KIND
def test_masks_follow_their_image(masks):
    boxes = as_detections(masks)
    assert isinstance(masks, InstanceField)
    planes = masks.planes()
    for method, dimension in ((FLIP_LEFT_RIGHT, 2), (FLIP_TOP_BOTTOM, 1)):
        flipped = boxes.transpose(method)
        assert torch.equal(flipped.predicted_masks.planes(), planes.flip(dimension))
        assert same(flipped.transpose(method), boxes)
    diagonal = boxes.transpose(FLIP_DIAGONAL)
    assert torch.equal(diagonal.predicted_masks.planes(), planes.transpose(1, 2))
    assert same(diagonal.transpose(FLIP_DIAGONAL), boxes)
    cut = boxes.crop([10, 5, 70, 25])
    assert cut.predicted_masks.size == cut.size == (60, 20)
    assert torch.equal(cut.predicted_masks.planes()[..., :50], planes[:, 5:25, 10:])
    assert not cut.predicted_masks.planes()[..., 50:].any()
    doubled = boxes.resize([120, 80])
    assert doubled.predicted_masks.size == doubled.size == (120, 80)
    shares = doubled.predicted_masks.planes().double().mean(dim=(1, 2))
    torch.testing.assert_close(shares, planes.double().mean(dim=(1, 2)), atol=0.02, rtol=0)
    assert same(boxes.resize(SIZE), boxes)


@EVERY_KIND
def test_masks_stay_what_they_are_in_copies(masks):
    boxes = as_detections(masks)
    boxes.add_field("labels", torch.arange(COUNT))
    copied = BoxList(boxes.bbox, boxes.size)
    for name, data in boxes.extra_fields.items():
        copied.add_field(name, data)
    for copy in (copied, boxes.copy_with_fields(["mask"]), pickle.loads(pickle.dumps(boxes))):
        assert same(copy, boxes)
        assert copy.predicted_masks.encode() == masks.encode()
    assert same(boxes.convert("xywh"), boxes)


def test_a_map_of_the_whole_image_is_not_taken_for_one_of_a_box():
    """Regression: a right 138 x 138 map of a 550 x 550 image was encoded as 324 px of 10,000."""
    plane = torch.zeros(1, 550, 550)
    plane[:, 200:300, 240:340] = 1
    probabilities = torch.nn.functional.interpolate(plane[None], (138, 138), mode="area")[0]
    boxes = BoxList([[240.0, 200.0, 339.0, 299.0]], (550, 550))
    boxes.add_field("mask", ImageMasks(probabilities, (550, 550)))
    (rle,) = boxes.predicted_masks.encode()
    assert mask_utils.area(rle) == pytest.approx(10_000, rel=0.03)
    assert mask_utils.iou([rle], masks_in(boxes, torch.ones(1, 1, 28, 28)).encode(), [0]) > 0.9
    # Such a map has no tensor that a script could give back.
    assert boxes.get_field("mask") is boxes.predicted_masks


def test_a_tensor_stays_the_tensor_that_scripts_know():
    probabilities = blob_probabilities(COUNT)
    boxes = as_detections(probabilities)
    assert boxes.get_field("mask") is probabilities
    assert boxes.extra_fields["mask"] is probabilities
    assert torch.equal(boxes[1:3].resize((30, 20)).get_field("mask"), probabilities[1:3])
    assert same(boxes, masks_in(boxes, probabilities))
    assert same(boxes.resize((90, 77)), masks_in(boxes.resize((90, 77)), probabilities))
    half = as_detections(probabilities[:, :, ::2, ::2].double())
    joined = cat_boxlist([boxes, boxes])
    assert joined.get_field("mask").shape == (2 * COUNT, 1, 28, 28)
    assert len(cat_boxlist([boxes, half]).predicted_masks.masks) == 2 * COUNT


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_a_tensor_of_planes_is_one_of_the_image(dtype):
    planes = image_masks(dtype).maps[:, None]
    boxes = as_detections(planes)
    assert isinstance(boxes.predicted_masks, ImageMasks)
    assert torch.equal(boxes.get_field("mask"), planes)
    assert boxes.get_field("mask").dtype == dtype
    larger = boxes.resize((120, 80)).get_field("mask")
    assert larger.dtype == dtype
    assert larger.shape == (COUNT, 1, 80, 120)


def test_an_image_as_small_as_a_mask():
    boxes = BoxList([[7.0, 7.0, 20.0, 20.0]], (28, 28))
    boxes.add_field("mask", torch.ones(1, 1, 28, 28))
    assert 13**2 <= boxes.predicted_masks.planes().sum() <= 16**2  # the box, not the image
    boxes.add_field("mask", torch.ones(1, 1, 28, 28, dtype=torch.uint8))
    assert boxes.predicted_masks.planes().sum() == 28**2


@pytest.mark.parametrize(
    "field",
    [
        torch.ones(COUNT, 28, 28),
        torch.ones(COUNT, 2, 28, 28),
        torch.ones(COUNT, 1, 28, 14),
        torch.ones(COUNT, 1, *SIZE[::-1]),
        torch.ones(COUNT, 1, 28, 28, dtype=torch.uint8),
        torch.ones(COUNT, 1, *SIZE[::-1], dtype=torch.int64),
        [None] * COUNT,
    ],
)
def test_other_fields_are_refused(field):
    message = r"floating \(K, 1, M, M\) .* uint8 or bool \(K, 1, 40, 60\) .*not (torch|<class)"
    with pytest.raises(ValueError, match=message):
        as_detections(field)


def test_masks_of_another_image_are_refused():
    with pytest.raises(ValueError, match=r"'mask'.*\(61, 40\).*\(60, 40\)"):
        as_detections(ImageMasks(torch.rand(COUNT, 9, 9), (61, 40)))
    with pytest.raises(ValueError, match=r"'mask'.*\b4\b.*\b1\b"):
        as_detections(mixed_masks()[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BoxMasks(torch.ones(1, 28, 28), BOXES[:1], SIZE), r"\(K, 1, M, M\)"),
        (lambda: BoxMasks(torch.ones(1, 2, 28, 28), BOXES[:1], SIZE), r"\(K, 1, M, M\)"),
        (lambda: BoxMasks((torch.ones(1, 4, 5),), BOXES[:1], SIZE), r"K of \(1, M, M\)"),
        (lambda: BoxMasks(torch.ones(2, 1, 4, 4), BOXES[:1], SIZE), r"boxes .*\(2, 4\)"),
        (lambda: ImageMasks(torch.ones(2, 1, 40, 60), SIZE), r"\(K, 40, 60\)"),
        (lambda: ImageMasks(torch.ones(2, 9, 9).byte(), SIZE), r"uint8 \(2, 9, 9\)"),
    ],
)
def test_masks_of_other_shapes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_only_masks_of_one_kind_and_rule_are_joined():
    boxes = as_detections(KINDS["of one size"]())
    with pytest.raises(TypeError, match=r"'mask'.*BoxMasks.*ImageMasks"):
        cat_boxlist([boxes, as_detections(image_masks(torch.bool))])
    with pytest.raises(ValueError, match="rule"):
        cat_boxlist([boxes, as_detections(masks_in(boxes, blob_probabilities(COUNT), 0.4))])


def test_boxes_of_masks_may_differ_from_the_detections():
    outer = BoxMasks(torch.ones(1, 1, 8, 8), torch.tensor([[10.0, 10, 39, 29]]), SIZE)
    boxes = BoxList([[20.0, 15.0, 29.0, 24.0]], SIZE)
    boxes.add_field("mask", outer)
    assert boxes.get_field("mask") is outer
    rescaled = boxes.resize((30, 20))
    expected = masks_in(BoxList([[5.0, 5, 19.5, 14.5]], (30, 20)), torch.ones(1, 1, 8, 8))
    assert same(rescaled, expected)
    # The bare tensor would not say how it was pasted, either.
    shown = BoxMasks(
        outer.masks, boxes.bbox, SIZE, PasteRule(InclusivePaste(0.3)), in_detections=True
    )
    boxes.add_field("mask", shown)
    assert boxes.get_field("mask") is shown


def test_pasted_masks_are_thresholded_anew_in_a_resized_image():
    boxes = BoxList([[2.0, 1.0, 5.0, 6.0]], (10, 8))
    plane = torch.zeros(1, 1, 8, 10, dtype=torch.uint8)
    plane[..., 1:7, 2:6] = 1
    boxes.add_field("mask", plane)
    resized = boxes.resize((20, 24))
    expected = plane.repeat_interleave(2, dim=3).repeat_interleave(3, dim=2)
    differs = resized.get_field("mask") != expected
    assert differs.sum() <= 4 * 2  # bilinear resizing rounds corners
    assert not differs[..., 4:20, 5:11].any()
    assert boxes.resize((10, 8)).get_field("mask").data_ptr() == plane.data_ptr()


def test_crops_of_the_image_are_as_small_as_their_masks():
    planes = torch.zeros(2, 40, 60, dtype=torch.uint8)
    planes[0, 3:9, 50:53] = 1
    first, second = ImageMasks(planes, SIZE).crops()
    assert (first.x0, first.y0, first.mask.shape, first.mask.all()) == (50, 3, (6, 3), True)
    assert second.mask.size == 0


def test_no_masks_of_the_image():
    for maps in (torch.zeros(0, 40, 60).bool(), torch.zeros(0, 9, 9)):
        masks = ImageMasks(maps, SIZE)
        assert (len(masks), masks.encode(), list(masks.crops())) == (0, [], [])
        assert masks.resize((30, 20)).planes().shape == (0, 20, 30)
        assert masks.transpose(FLIP_LEFT_RIGHT).crop([0, 0, 5, 5]).planes().shape == (0, 5, 5)


def test_boxes_without_masks_say_so():
    with pytest.raises(KeyError, match="'mask'"):
        _ = random_boxlist(2).predicted_masks
