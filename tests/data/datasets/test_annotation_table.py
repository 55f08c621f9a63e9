"""Targets packed into arrays come out as they went in."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.data.datasets.annotation_table import ImageTable, trainable_boxes
from maskrcnn_benchmark.data.datasets.content import checked_content
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.data.tiny_coco import SQUARE, annotation, content, image, without

RLE = {"size": [8, 10], "counts": "X1X1"}


def table_of(annotations, images=(1,)):
    sections = {"images": [image(i) for i in images], "annotations": annotations}
    return checked_content(content(**sections), "memory").annotations


def entry_of(given):
    """What a table says of an annotation."""
    return without(without(given, "image_id"), "category_id")


def test_round_trip():
    triangle = [0.25, 0.0, 4.0, 0.0, 0.0, 4.0]
    annotations = [
        annotation(3, image_id=9, category_id=7, segmentation=RLE, iscrowd=1),
        annotation(1, bbox=(1, 2, 3, 4)),
        annotation(4, image_id=9, area=2.5),
        annotation(2, segmentation=[triangle, *SQUARE]),
    ]
    table = table_of(annotations, images=(9, 5, 1))
    assert [table.rows(place).tolist() for place in range(3)] == [[1, 3], [], [0, 2]]
    assert [table.targets(place).tolist() for place in range(3)] == [[1, 3], [], [2]]
    assert table.image_places.tolist() == [2, 0, 2, 0]
    assert table.labels.tolist() == [2, 1, 1, 1]
    assert [table.annotation(row) for row in range(4)] == [entry_of(one) for one in annotations]
    assert table.outline(0) == RLE
    assert table.outline(3) == [triangle, *SQUARE]


def test_images_by_ascending_ids():
    """Names may hold what a JSON file escaped: half of a pair."""
    names = ["b.png", "фото.png", "\ud800.png"]
    table = ImageTable.from_columns([7, -2, 5], [(8, 10), (3, 4), (1, 1)], names)
    assert [table.info(place) for place in range(3)] == [
        {"id": -2, "file_name": "фото.png", "height": 3, "width": 4},
        {"id": 5, "file_name": "\ud800.png", "height": 1, "width": 1},
        {"id": 7, "file_name": "b.png", "height": 8, "width": 10},
    ]
    assert table.places([7, 6, -2, 99, -3]).tolist() == [2, -1, 0, -1, -1]


def test_numbers_are_exact():
    """Rounded to float32, an outline might cover a pixel more or less in the evaluation."""
    outline = [[123.7, 0.1, 200.3, 0.1, 123.7, 99.9]]
    given = annotation(bbox=(123.7, 0.1, 76.6, 99.8), area=0.3, segmentation=outline)
    assert table_of([given]).annotation(0) == entry_of(given)


def test_keypoints_come_back():
    points = [1.5, 2.0, 2] * 16 + [0, 0, 0]
    entry = table_of([annotation(1), annotation(2, keypoints=points)]).annotation(1)
    assert (entry["keypoints"], entry["num_keypoints"]) == (points, 16)
    assert "keypoints" not in table_of([annotation(keypoints=[1, 1, 2])]).annotation(0)


def test_nothing_at_all():
    table = table_of([], images=(1, 2))
    assert table.boxes_xywh.shape == (0, 4)
    assert table.labels.dtype == np.int64
    assert [len(table.rows(place)) for place in range(2)] == [0, 0]


def test_boxes_without_outlines():
    table = table_of([without(annotation(), "segmentation")])
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
