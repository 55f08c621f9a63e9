"""Targets packed into arrays come out as they went in."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.data.datasets.annotation_table import AnnotationTable, has_trainable_box
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.data.tiny_coco import SQUARE, annotation

RLE = {"size": [8, 10], "counts": "l21"}
LABELS = {3: 1, 7: 2}


def test_round_trip():
    triangle = [0.25, 0.0, 4.0, 0.0, 0.0, 4.0]
    table = AnnotationTable.from_annotations(
        [
            [annotation(1, bbox=(1, 2, 3, 4)), annotation(2, segmentation=[triangle, *SQUARE])],
            [],
            [annotation(3, category_id=7, segmentation=RLE), annotation(4)],
        ],
        LABELS,
    )
    assert [list(table.rows(index)) for index in range(3)] == [[0, 1], [], [2, 3]]
    np.testing.assert_array_equal(table.labels, [1, 1, 2, 1])
    np.testing.assert_array_equal(table.boxes_xywh[0], [1, 2, 3, 4])
    assert [polygon.tolist() for polygon in table.outline(0)] == SQUARE
    assert [polygon.tolist() for polygon in table.outline(1)] == [triangle, *SQUARE]
    assert table.outline(2) == RLE
    assert [polygon.tolist() for polygon in table.outline(3)] == SQUARE


def test_nothing_at_all():
    table = AnnotationTable.from_annotations([[], []], LABELS)
    assert table.boxes_xywh.shape == (0, 4)
    assert table.labels.dtype == np.int64
    assert list(table.rows(1)) == []


def test_boxes_without_outlines():
    entry = annotation()
    del entry["segmentation"]
    assert AnnotationTable.from_annotations([[entry]], LABELS).outline(0) == []


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
    assert has_trainable_box({"bbox": list(bbox)}, height=8, width=10) is expected
    boxes = BoxList(torch.tensor([bbox], dtype=torch.float32), (10, 8), mode="xywh")
    assert bool(len(boxes.convert("xyxy").clip_to_image(remove_empty=True))) is expected
