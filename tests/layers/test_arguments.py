"""Wrong arguments of the operators' functions: the error names the argument."""

import re

import pytest
import torch

from maskrcnn_benchmark.layers import (
    PolygonGroups,
    SigmoidFocalLoss,
    batched_nms,
    deform_conv,
    deform_roi_pooling,
    group_norm_relu,
    inverted_residual,
    inverted_residual_int16,
    ml_nms,
    modulated_deform_conv,
    nms,
    pack_inverted_residual_int16,
    pack_pointwise_weight_int16,
    pack_winograd_weight_int16,
    paste_masks_rle,
    pointwise_conv_int16,
    polygon_areas,
    rasterize_polygons,
    roi_align,
    roi_pool,
    scores_above,
    sigmoid_focal_loss,
    winograd_conv3x3,
    winograd_conv3x3_int16,
)
from maskrcnn_benchmark.layers.arguments import as_pair
from tests.layers.twins import TWINS

META, LONG, COMPLEX = torch.device("meta"), torch.int64, torch.complex64
NAN = float("nan")
BOXES = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8]])
POLYGONS = PolygonGroups(torch.rand(3, 2), torch.tensor([0, 3]), torch.tensor([0, 1]))
POOLING = {
    "input": torch.rand(1, 1, 4, 4),
    "rois": torch.tensor([[0.0, 0, 0, 3, 3]]),
    "output_size": 2,
    "spatial_scale": 1.0,
}
BLOCK = pack_inverted_residual_int16(
    (torch.rand(9, 4, 1, 1), torch.rand(9)),
    (torch.rand(9, 1, 3, 3), torch.rand(9)),
    (torch.rand(5, 9, 1, 1), torch.rand(5)),
)
GOOD = {
    roi_align: {**POOLING, "sampling_ratio": 2},
    roi_pool: POOLING,
    group_norm_relu: {
        "input": torch.rand(1, 4, 3, 3),
        "num_groups": 2,
        "weight": torch.rand(4),
        "bias": torch.rand(4),
    },
    inverted_residual: {
        "input": torch.rand(1, 4, 3, 3),
        "expansion": torch.rand(5 * 16),
        "depthwise": torch.rand(10 * 16),
        "projection": torch.rand(17 * 16),
        "out_channels": 5,
        "stride": 1,
        "adds_input": False,
        "limit": 6.0,
    },
    inverted_residual_int16: {
        "input": torch.rand(1, 4, 3, 3),
        "weights": BLOCK,
        "out_channels": 5,
        "stride": 1,
        "adds_input": False,
    },
    winograd_conv3x3: {
        "input": torch.rand(1, 4, 3, 3),
        "weight": torch.rand(36 * 4 * 16),
        "bias": torch.rand(5),
        "padding": 1,
    },
    winograd_conv3x3_int16: {
        "input": torch.rand(1, 4, 3, 3),
        "weight": pack_winograd_weight_int16(torch.rand(5, 4, 3, 3)),
        "bias": torch.rand(5),
        "padding": 1,
    },
    pointwise_conv_int16: {
        "input": torch.rand(1, 4, 3, 3),
        "weight": pack_pointwise_weight_int16(torch.rand(5, 4, 1, 1)),
        "bias": torch.rand(5),
        "addend": torch.rand(1, 5, 3, 3),
        "stride": 1,
        "least": 0.0,
    },
    nms: {"boxes": BOXES, "scores": torch.rand(2), "threshold": 0.5},
    ml_nms: {"boxes": BOXES, "scores": torch.rand(2), "labels": torch.ones(2), "threshold": 0.5},
    batched_nms: {
        "boxes": BOXES,
        "scores": torch.rand(2),
        "idxs": torch.ones(2),
        "iou_threshold": 0.5,
    },
    scores_above: {"logits": torch.rand(1, 4, 3, 3), "num_classes": 2, "threshold": 0.5},
    sigmoid_focal_loss: {
        "logits": torch.rand(2, 3),
        "targets": torch.tensor([0, 3]),
        "gamma": 2.0,
        "alpha": 0.25,
    },
    modulated_deform_conv: {
        "input": torch.rand(1, 2, 3, 3),
        "offset": torch.rand(1, 2, 3, 3),
        "mask": torch.rand(1, 1, 3, 3),
        "weight": torch.rand(2, 2, 1, 1),
        "bias": torch.rand(2),
    },
    deform_conv: {
        "input": torch.rand(1, 2, 3, 3),
        "offset": torch.rand(1, 2, 3, 3),
        "weight": torch.rand(2, 2, 1, 1),
        "stride": 1,
        "padding": 0,
        "dilation": 1,
    },
    deform_roi_pooling: {
        "data": torch.rand(1, 1, 4, 4),
        "rois": torch.tensor([[0.0, 0, 0, 3, 3]]),
        "offset": torch.rand(1, 2, 1, 1),
        "spatial_scale": 1.0,
        "out_size": 1,
        "out_channels": 1,
        "no_trans": False,
    },
    paste_masks_rle: {"masks": torch.rand(2, 3, 3), "boxes": BOXES, "image_hw": (9, 9)},
    rasterize_polygons: {
        "groups": POLYGONS,
        "instances": torch.tensor([0]),
        "boxes": BOXES[:1],
        "side": 3,
    },
    polygon_areas: {
        "groups": POLYGONS,
        "instances": torch.tensor([0]),
        "origins": torch.zeros(1, 2),
        "sizes_hw": torch.tensor([[3, 3]]),
    },
}
WRONG = [
    *((each, "input", x) for each in (roi_align, roi_pool) for x in (LONG, COMPLEX, "a list")),
    *((each, "rois", x) for each in (roi_align, roi_pool) for x in (META, COMPLEX, "a list")),
    *((roi_align, "output_size", x) for x in (2.0, (2,), (2, 2, 2), (2.5, 2), (0, 2), -1)),
    *((roi_align, "spatial_scale", x) for x in (0.0, NAN, float("inf"))),
    *((group_norm_relu, n, x) for n in ("weight", "bias") for x in (META, LONG, torch.ones(3))),
    *((group_norm_relu, "input", x) for x in (LONG, COMPLEX, "a list")),
    *((group_norm_relu, "num_groups", x) for x in (0, 3, -2)),
    *(
        (inverted_residual, n, x)
        for n in ("expansion", "depthwise", "projection")
        for x in (META, LONG, torch.ones(5))
    ),
    *((inverted_residual, "input", x) for x in (LONG, COMPLEX, "a list", torch.ones(3, 3))),
    *((inverted_residual, "stride", x) for x in (0, 3)),
    *((inverted_residual, "limit", x) for x in (0.0, -1.0, NAN)),
    (inverted_residual, "out_channels", -1),
    (inverted_residual, "adds_input", True),
    *((inverted_residual_int16, "input", x) for x in (LONG, "a list", torch.ones(3, 3))),
    (inverted_residual_int16, "stride", 3),
    (inverted_residual_int16, "out_channels", -1),
    (inverted_residual_int16, "adds_input", True),
    *((winograd_conv3x3, n, x) for n in ("weight", "bias") for x in (META, LONG, torch.ones(5, 1))),
    *((winograd_conv3x3, "input", x) for x in (LONG, COMPLEX, "a list", torch.ones(3, 3))),
    (winograd_conv3x3, "padding", -1),
    *((winograd_conv3x3_int16, "bias", x) for x in (META, LONG, torch.ones(5, 1))),
    *((winograd_conv3x3_int16, "input", x) for x in (LONG, "a list", torch.ones(3, 3))),
    (winograd_conv3x3_int16, "padding", -1),
    *((pointwise_conv_int16, "bias", x) for x in (META, LONG, torch.ones(5, 1))),
    *((pointwise_conv_int16, "addend", x) for x in (META, LONG, torch.ones(1, 5, 3, 2))),
    *((pointwise_conv_int16, "input", x) for x in (LONG, "a list", torch.ones(3, 3))),
    (pointwise_conv_int16, "stride", 0),
    (pointwise_conv_int16, "least", NAN),
    *((each, "boxes", META) for each in (paste_masks_rle, rasterize_polygons)),
    *((each, "scores", META) for each in (nms, ml_nms, batched_nms)),
    *((each, "scores", COMPLEX) for each in (nms, ml_nms, batched_nms)),
    *((each, "boxes", LONG) for each in (nms, ml_nms, batched_nms)),
    *((each, "boxes", "a list") for each in (nms, paste_masks_rle, rasterize_polygons)),
    (ml_nms, "labels", META),
    (batched_nms, "idxs", META),
    (batched_nms, "idxs", torch.ones(3)),
    *((scores_above, "logits", x) for x in (LONG, COMPLEX, "a list", torch.rand(4))),
    *((scores_above, "num_classes", x) for x in (0, 3, -2)),
    (sigmoid_focal_loss, "logits", LONG),
    (sigmoid_focal_loss, "logits", COMPLEX),
    (sigmoid_focal_loss, "targets", META),
    (sigmoid_focal_loss, "targets", torch.float32),
    (sigmoid_focal_loss, "targets", COMPLEX),
    *((sigmoid_focal_loss, "gamma", value) for value in (-1.0, NAN)),
    *((sigmoid_focal_loss, "alpha", value) for value in (-0.5, 1.5, NAN)),
    *((modulated_deform_conv, n, LONG) for n in ("input", "offset", "mask", "weight")),
    *((modulated_deform_conv, n, META) for n in ("offset", "mask", "weight", "bias")),
    *((deform_conv, "stride", value) for value in (1.5, (1,), (1, 1, 1), "2", (1.0, 2))),
    (deform_conv, "padding", "same"),
    (deform_conv, "dilation", None),
    *((deform_roi_pooling, n, LONG) for n in ("data", "rois", "offset")),
    *((deform_roi_pooling, n, META) for n in ("rois", "offset")),
    *((deform_roi_pooling, "spatial_scale", x) for x in (0.0, -1.0, NAN, float("inf"))),
    (paste_masks_rle, "masks", META),
    *((paste_masks_rle, "image_hw", value) for value in ((9.0, 9), (9, 9, 9), None)),
    *(
        (rasterize_polygons, "instances", x)
        for x in (META, torch.float32, torch.tensor(0), "a list")
    ),
    *((polygon_areas, n, META) for n in ("instances", "origins", "sizes_hw")),
    (polygon_areas, "sizes_hw", torch.float32),
]


def name_of(value):
    return value.__name__ if callable(value) else re.sub(r"\W+", "-", str(value))


def replaced(good, wrong):
    if wrong == "a list":
        return good.tolist()
    if isinstance(wrong, torch.device | torch.dtype):
        return good.to(wrong)
    return wrong


@pytest.mark.parametrize("function", GOOD, ids=name_of)
def test_right_arguments_are_taken(function):
    function(**GOOD[function])


@pytest.mark.parametrize(("function", "name", "wrong"), WRONG, ids=name_of)
def test_the_error_names_the_argument(function, name, wrong):
    arguments = GOOD[function]
    # A list has no type to speak of, so that it is no ValueError.
    kind = TypeError if wrong == "a list" else ValueError
    with pytest.raises(kind, match=rf"^{name}: expected "):
        function(**{**arguments, name: replaced(arguments[name], wrong)})


def test_the_module_refuses_weights_that_are_none_when_it_is_made():
    with pytest.raises(ValueError, match=r"gamma: .*got -2"):
        SigmoidFocalLoss(-2, 0.25)


def test_floating_labels_are_compared_not_rounded():
    boxes, scores = BOXES[:1].expand(4, 4), torch.tensor([0.9, 0.8, 0.7, 0.6])
    labels = torch.tensor([1.0, 1.5, 0.0, -0.0])
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert ml_nms(boxes, scores, labels.to(dtype), 0.5).tolist() == [0, 1, 2]
    assert ml_nms(boxes, scores, labels.int(), 0.5).tolist() == [0, 2]


@pytest.mark.parametrize("pool", [TWINS.roi_align, torch.ops.centermask.roi_align])
def test_image_indices_are_cut_to_whole_numbers(pool):
    features, rois = torch.rand(2, 1, 4, 4), torch.tensor([[1.0, 0, 0, 3, 3]])
    expected = pool(features, rois, 1.0, 2, 2, 2)
    rois[0, 0] = 1.5
    assert torch.equal(pool(features, rois, 1.0, 2, 2, 2), expected)


@pytest.mark.parametrize("value", [3, (3, 3), [3, 3], torch.Size([3, 3])])
def test_a_pair(value):
    assert as_pair(value, "x") == (3, 3)
