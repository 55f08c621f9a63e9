import cv2
import numpy as np
import pytest
import torch

from maskrcnn_benchmark.modeling.roi_heads.keypoint_head import inference
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.inference import (
    attach_keypoints,
    heatmaps_to_keypoints,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import Keypoints, keypoints_to_heat_map

ROIS = torch.tensor(
    [
        [10.0, 20.0, 80.5, 60.25],
        [0.0, 0.0, 5.0, 120.0],
        [3.3, 4.4, 3.9, 4.5],
        [50.0, 10.0, 90.0, 90.7],
        [7.0, 7.0, 7.0, 7.0],
    ]
)


def one_by_one(maps, roi):
    """Detectron's way: OpenCV resizes the maps of one roi."""
    x1, y1, x2, y2 = roi.tolist()
    width, height = max(x2 - x1, 1), max(y2 - y1, 1)
    columns, rows = int(np.ceil(width)), int(np.ceil(height))
    resized = cv2.resize(
        maps.permute(1, 2, 0).numpy(), (columns, rows), interpolation=cv2.INTER_CUBIC
    )
    results = []
    for channel in resized.reshape(rows, columns, -1).transpose(2, 0, 1):
        row, column = divmod(int(channel.argmax()), columns)
        x, y = (column + 0.5) * width / columns + x1, (row + 0.5) * height / rows + y1
        results.append(((x, y, 1.0), channel[row, column]))
    return results


@pytest.mark.parametrize("limit", [2**23, 1], ids=["one group", "each roi alone"])
def test_equals_resizing_one_by_one(monkeypatch, limit):
    monkeypatch.setattr(inference, "_MAX_GROUP_VALUES", limit)
    maps = torch.randn(len(ROIS), 3, 14, 14, generator=torch.Generator().manual_seed(1))
    points, scores = heatmaps_to_keypoints(maps, ROIS)
    for k, roi in enumerate(ROIS):
        for p, (point, score) in enumerate(one_by_one(maps[k], roi)):
            assert points[k, p].tolist() == pytest.approx(point, abs=1e-3)
            assert scores[k, p].item() == pytest.approx(score, abs=1e-3)


def test_a_point_comes_back_from_its_heat_map():
    generator = torch.Generator().manual_seed(5)
    rois = torch.tensor([[10.0, 10.0, 66.0, 66.0], [20.0, 0.0, 132.0, 112.0]])
    points = rois[:, None, :2] + torch.rand(2, 17, 2, generator=generator) * (
        rois[:, None, 2:] - rois[:, None, :2]
    )
    truth = torch.cat([points, torch.full((2, 17, 1), 2.0)], dim=2)
    cells, valid = keypoints_to_heat_map(truth, rois, 56)
    assert valid.all()
    maps = torch.zeros(2, 17, 56 * 56).scatter_(2, cells[..., None], 1.0)
    found, _ = heatmaps_to_keypoints(maps.view(2, 17, 56, 56), rois)
    cell_sides = (rois[:, 2:] - rois[:, :2]) / 56
    assert ((found - truth)[..., :2].abs() <= cell_sides[:, None] + 0.51).all()


def test_no_rois():
    points, scores = heatmaps_to_keypoints(torch.zeros(0, 17, 56, 56), torch.zeros(0, 4))
    assert points.shape == (0, 17, 3)
    assert scores.shape == (0, 17)


def test_each_image_gets_its_own_points():
    maps = torch.randn(3, 17, 8, 8)
    images = [BoxList(ROIS[:0], (100, 130)), BoxList(ROIS[:2], (100, 130))]
    images += [BoxList(ROIS[3:4], (100, 130))]
    for boxes in images:
        boxes.add_field("scores", torch.rand(len(boxes)))
    results = attach_keypoints(images, maps)
    expected = heatmaps_to_keypoints(maps, ROIS[[0, 1, 3]])
    found = torch.cat([result.get_field("keypoints").keypoints for result in results])
    torch.testing.assert_close(found, expected.points)
    logits = results[2].get_field("keypoints").get_field("logits")
    torch.testing.assert_close(logits, expected.scores[2:])
    assert results[1].fields() == ["scores", "keypoints"]


def test_another_number_of_points_than_a_person_has():
    (result,) = attach_keypoints([BoxList(ROIS[:1], (100, 130))], torch.randn(1, 4, 8, 8))
    assert type(result.get_field("keypoints")) is Keypoints
