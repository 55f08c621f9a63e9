import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import Keypoints, PersonKeypoints
from maskrcnn_benchmark.structures.predicted_masks import ImageMasks
from maskrcnn_benchmark.visualization.draw import draw_instances, draw_skeletons
from tests.factories import masks_in

RED, SIZE_WH = (255, 0, 0), (40, 30)


def canvas(keypoints):
    image = Image.new("RGB", SIZE_WH)
    draw_skeletons(ImageDraw.Draw(image), keypoints, [RED] * len(keypoints), width=1)
    return np.asarray(image)[..., 0] > 0


def shoulders(visibility=(2, 2)):
    points = torch.zeros(1, 17, 3)
    points[0, 5] = torch.tensor([10.0, 15.0, visibility[0]])
    points[0, 6] = torch.tensor([30.0, 15.0, visibility[1]])
    return points


def test_a_line_joins_two_visible_points():
    drawn = canvas(PersonKeypoints(shoulders(), SIZE_WH))
    assert drawn[15, 10:31].all()
    assert not drawn[:12].any()
    assert drawn[13:18, 10].sum() >= 3  # a dot


@pytest.mark.parametrize("kind", [PersonKeypoints, Keypoints])
def test_points_alone(kind):
    visibility = (2, 0) if kind is PersonKeypoints else (2, 2)
    drawn = canvas(kind(shoulders(visibility), SIZE_WH))
    assert drawn[15, 10]
    assert not drawn[15, 14:26].any()
    assert drawn[15, 30] == (kind is Keypoints)


def test_predicted_points_need_a_score():
    keypoints = PersonKeypoints(shoulders(), SIZE_WH)
    logits = torch.zeros(1, 17)
    logits[0, 5] = 3.0
    keypoints.add_field("logits", logits)
    drawn = canvas(keypoints)
    assert drawn[15, 10]
    assert not drawn[15, 30]


def test_no_instances():
    assert not canvas(PersonKeypoints([], SIZE_WH)).any()


def make_boxes():
    boxes = BoxList([[5.0, 5.0, 34.0, 24.0]], SIZE_WH)
    boxes.add_field("labels", torch.tensor([1]))
    return boxes


def test_instances_are_drawn_with_their_keypoints():
    plain, with_points = make_boxes(), make_boxes()
    with_points.add_field("keypoints", PersonKeypoints(shoulders(), SIZE_WH))
    photo = Image.new("RGB", (80, 60))
    pictures = [np.asarray(draw_instances(photo, one, {})) for one in (plain, with_points)]
    differs = (pictures[0] != pictures[1]).any(axis=2)
    assert differs[30, 24:58].all()


def test_masks_pasted_by_the_model_are_drawn_as_those_inside_boxes():
    inside, whole = make_boxes(), make_boxes()
    inside.add_field("mask", torch.ones(1, 1, 28, 28))
    planes = masks_in(whole, torch.ones(1, 1, 28, 28)).planes()
    whole.add_field("mask", ImageMasks(planes, whole.size))
    photo = Image.new("RGB", (80, 60))
    pictures = [np.asarray(draw_instances(photo, one, {})) for one in (inside, whole)]
    differs = (pictures[0] != pictures[1]).any(axis=2)
    assert differs.mean() < 0.1
    assert pictures[1][30, 40].any()
