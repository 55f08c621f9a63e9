"""Targets packed into arrays come out as they went in."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.data.datasets.annotation_table import AnnotationTable, trainable_boxes
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.data.tiny_coco import SQUARE, annotation, without

RLE = {"size": [8, 10], "counts": "l21"}
LABELS = {3: 1, 7: 2}


def test_round_trip():
    triangle = [0.25, 0.0, 4.0, 0.0, 0.0, 4.0]
    table = AnnotationTable.from_annotations(
        [
            [annotation(1, bbox=(1, 2, 3, 4)), annotation(2, segmentation=[triangle, *SQUARE])],
            [],
            [annotation(3, category_id=7, segmentation=RLE, iscrowd=1), annotation(4, area=2.5)],
        ],
        [(8, 10), (3, 3), (8, 10)],
        LABELS,
    )
    assert [list(table.rows(index)) for index in range(3)] == [[0, 1], [], [2, 3]]
    np.testing.assert_array_equal(table.labels, [1, 1, 2, 1])
    np.testing.assert_array_equal(table.boxes_xywh[0], [1, 2, 3, 4])
    assert [polygon.tolist() for polygon in table.outline(0)] == SQUARE
    assert [polygon.tolist() for polygon in table.outline(1)] == [triangle, *SQUARE]
    assert table.outline(2) == RLE
    assert [polygon.tolist() for polygon in table.outline(3)] == SQUARE
    assert [table.targets(index) for index in range(3)] == [[0, 1], [], [3]]
    assert table.annotation(2) == {
        "id": 3,
        "bbox": [2, 1, 4, 4],
        "area": 16,
        "iscrowd": 1,
        "segmentation": RLE,
    }
    assert table.annotation(3)["area"] == 2.5
    assert table.annotation(1)["segmentation"] == [triangle, *SQUARE]


def test_numbers_are_exact():
    """Rounded to float32, an outline might cover a pixel more or less in the evaluation."""
    outline = [[123.7, 0.1, 200.3, 0.1, 123.7, 99.9]]
    entry = annotation(bbox=(123.7, 0.1, 76.6, 99.8), area=0.3, segmentation=outline)
    table = AnnotationTable.from_annotations([[entry]], [(480, 640)], LABELS)
    assert table.annotation(0) == without(without(entry, "image_id"), "category_id")


def test_keypoints_come_back():
    points = [1.5, 2.0, 2] * 16 + [0, 0, 0]
    entries = [annotation(keypoints=points)]
    kept = AnnotationTable.from_annotations([entries], [(8, 10)], LABELS, has_keypoints=True)
    assert kept.annotation(0)["keypoints"] == points
    assert kept.annotation(0)["num_keypoints"] == 16
    left = AnnotationTable.from_annotations([entries], [(8, 10)], LABELS)
    assert "keypoints" not in left.annotation(0)


def test_nothing_at_all():
    table = AnnotationTable.from_annotations([[], []], [(8, 10)] * 2, LABELS)
    assert table.boxes_xywh.shape == (0, 4)
    assert table.labels.dtype == np.int64
    assert list(table.rows(1)) == []


def test_boxes_without_outlines():
    entry = annotation()
    del entry["segmentation"]
    table = AnnotationTable.from_annotations([[entry]], [(8, 10)], LABELS)
    assert table.outline(0) == []
    assert "segmentation" not in table.annotation(0)


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ((0, 0, 10, 8), True),
        ((2, 1, 2, 2), True),
        ((2, 1, 1, 4), False),  # one pixel wide: nothing under the inclusive convention
        ((2, 1, 4, 0), False),
        ((2, 1, -3, 4), False),
        ((-5, 1, 7, 4), True),  # pixels 0 and 1 are left of it
        ((-5, 1, 6, 4), False),  # only pixel 0
        ((10, 1, 4, 4), False),
        ((8.5, 1, 1.6, 4), True),  # from 8.5 to 9.1, clipped to 9
        ((3, 50, 4, 4), False),
        ((-50, -50, 500, 500), True),
    ],
)
def test_trainable_boxes_are_those_that_clipping_keeps(bbox, expected):
    sizes_hw = np.array([[8, 10], [1000, 1000]])
    found = trainable_boxes(np.array([bbox, (2.0, 2, 2, 2)]), sizes_hw)
    assert found.tolist() == [expected, True]
    boxes = BoxList(torch.tensor([bbox], dtype=torch.float32), (10, 8), mode="xywh")
    assert bool(len(boxes.convert("xyxy").clip_to_image(remove_empty=True))) is expected
