"""What is close enough in 16 bits."""

import copy
from types import SimpleNamespace

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.export.formats import EXPORT_FORMATS, check_precision
from maskrcnn_benchmark.structures.keypoint import Keypoints
from tests.factories import blob_probabilities, random_boxlist

pytest.importorskip("onnxscript")
bfloat16 = pytest.importorskip("maskrcnn_benchmark.export.bfloat16")
parts = pytest.importorskip("maskrcnn_benchmark.export.parts")


def detections(count=50):
    boxes = random_boxlist(count).copy_with_fields([])
    boxes.add_field("labels", torch.arange(count) + 1)
    boxes.add_field("scores", torch.linspace(0.9, 0.2, count))
    boxes.add_field("mask", blob_probabilities(count))
    return boxes


def closeness(lost=0, px=0.0, score=0.0, mask=0.0, point=0.0, detections=100):
    gaps = torch.tensor([[px, score, mask, point]] * (detections - lost)).reshape(-1, 4)
    return bfloat16.Closeness(detections, gaps)


def test_a_detection_is_measured_against_its_own():
    boxes = detections(3)
    moved = boxes[torch.tensor([2, 0, 1])]
    moved.bbox += torch.tensor([[0.0, 0, 0, 0.25], [0, 0, 0, 0.5], [0, 0, 0, 0]])
    moved.add_field("scores", moved.get_field("scores") + torch.tensor([0.01, 0.02, 0.0]))
    found = bfloat16.measure(moved, boxes)
    assert (found.detections, found.lost) == (3, 0)
    torch.testing.assert_close(found.gaps[:, 0], torch.tensor([0.5, 0.0, 0.25]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.gaps[:, 1], torch.tensor([0.02, 0.0, 0.01]), atol=1e-6, rtol=0)
    assert found.gaps[:, 2].max() < 0.2


def test_keypoints_are_as_far_off_as_their_median():
    first, second = detections(2), detections(2)
    points = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0)) * 50
    moved = points + torch.tensor([[[3.0, 4, 0]], [[0, 0, 0]]]) * torch.tensor([1.0, 1, 0])[:, None]
    for boxes, places in ((first, points), (second, moved)):
        boxes.add_field("keypoints", Keypoints(places, boxes.size))
    gaps = bfloat16.measure(second, first).gaps[:, 3]
    torch.testing.assert_close(gaps, torch.tensor([5.0, 0.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["labels", "scores"])
def test_other_classes_and_scores_are_lost(name):
    boxes, others = detections(3), detections(3)
    others.add_field(name, others.get_field(name) + torch.tensor([0, 0, 5]))
    assert bfloat16.measure(others, boxes).lost == 1


@pytest.mark.parametrize(("found", "expected"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_is_a_number_of_detections_too(found, expected):
    boxes = detections(3)
    result = bfloat16.measure(boxes[torch.arange(found)], boxes[torch.arange(expected)])
    assert (result.detections, result.lost) == (expected, expected)
    assert bfloat16.join([result, closeness()]).detections == expected + 100


@pytest.mark.parametrize(
    ("worse", "passes"),
    [
        ({"lost": 17}, True),
        ({"lost": 18}, False),
        ({"px": 0.69}, True),
        ({"px": 0.71}, False),
        ({"px": float("nan")}, False),
        ({"score": 4.4e-3}, False),
        ({"mask": 0.05}, False),
        ({"point": 1.9}, True),
        ({"point": 2.1}, False),
        ({"lost": 100}, False),
    ],
)
def test_a_file_is_as_close_as_the_mode_within_limits(worse, passes):
    mode = closeness(lost=10, px=0.4, score=2e-3, mask=0.02, point=1.0)
    about = {"lost": 10, "px": 0.4, "score": 2e-3, "mask": 0.02, "point": 1.0}
    found = closeness(**(about | worse))
    if passes:
        bfloat16.judge(found, mode)
    else:
        with pytest.raises(bfloat16.NotTheSameError, match="less close"):
            bfloat16.judge(found, mode)


def test_a_file_that_finds_nothing_again_does_not_pass_with_a_mode_that_does_not_either():
    nothing = closeness(lost=100)
    with pytest.raises(bfloat16.NotTheSameError, match="less close"):
        bfloat16.judge(nothing, nothing)


@pytest.mark.parametrize(
    ("name", "format_name", "word"),
    [("int8", "openvino", "int8.md"), ("bf16", "onnx", "openvino"), ("fp8", "torch", "float32")],
)
def test_precisions_that_are_refused_say_why(name, format_name, word):
    with pytest.raises(ConfigError, match=word):
        check_precision(name, EXPORT_FORMATS[format_name])


class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = torch.nn.Conv2d(3, 4, 1)
        self.bbox_pred = torch.nn.Conv2d(4, 4, 1)
        self.seen = []

    def forward(self, features):
        hidden = [self.tower(each) for each in features]
        self.seen.append(hidden[0].dtype)
        return ([self.bbox_pred(each) for each in hidden],)


def test_maps_leave_in_float32_and_the_last_layers_compute_in_it():
    backbone = torch.nn.Module()
    backbone.forward = lambda images: [images]
    head = Head()
    model = SimpleNamespace(rpn=SimpleNamespace(head=head), backbone=backbone)
    part = parts.DensePartInBFloat16(parts.DensePart(model))
    images = torch.rand(1, 3, 5, 6)
    _, deltas = part(images)
    twin = part.part.head
    assert twin.seen == [torch.bfloat16]
    hidden = head.tower.bfloat16()(images.bfloat16()).float()
    expected = torch.nn.functional.conv2d(hidden, head.bbox_pred.weight, head.bbox_pred.bias)
    torch.testing.assert_close(deltas, expected)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rpn = torch.nn.Module()
        self.rpn.head = Head()

    def forward(self, images):
        return [self.rpn.head([images])[0][0]]


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 on this processor"
)
def test_files_for_other_runtimes_are_held_to_the_rounding_of_autocast():
    model, images = Model(), torch.rand(1, 3, 5, 6)
    source = SimpleNamespace(model=model, metadata=SimpleNamespace(operators="standard"))
    with torch.no_grad():
        found = bfloat16.make_yardstick(source)(images)[0]
        expected = model(images)[0]
        # The model itself is left as it is.
        assert model.rpn.head.seen == [torch.float32]
        rounded = copy.deepcopy(model.rpn.head)
        parts.keep_last_layers(rounded)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(found, rounded([images])[0][0], rtol=0, atol=0)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.02
