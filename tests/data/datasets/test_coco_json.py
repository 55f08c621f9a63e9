"""What is told about files that are no JSON."""

import json
import math

import pytest

from maskrcnn_benchmark.data.datasets.coco_json import read_coco_json, scan_coco_json
from maskrcnn_benchmark.data.datasets.content import checked_content
from maskrcnn_benchmark.data.errors import DatasetError
from tests.data.tiny_coco import SQUARE, annotation, content, image, without, write

RLE = {"size": [8, 10], "counts": [40, 40]}
PERSON = [3.0, 2.0, 2] * 17


def test_the_content_comes_as_it_is(tmp_path):
    ann_file, root = write(tmp_path, with_images=False)
    assert read_coco_json(ann_file, root) == content()


def test_entries_are_decoded_when_they_are_asked_for(tmp_path):
    data = content(annotations=[annotation(i, attributes={"i": [i]}) for i in range(5)])
    ann_file, root = write(tmp_path, data, with_images=False)
    entries = scan_coco_json(ann_file, root)["annotations"]
    assert list(entries) == data["annotations"]
    assert (entries[-1], entries[1:3]) == (data["annotations"][-1], data["annotations"][1:3])
    assert len(entries) == 5
    with pytest.raises(IndexError):
        _ = entries[5]


def outcome(read, ann_file):
    """All that comes of a file: its error, or what is kept and what is left out."""
    try:
        checked = checked_content(read(ann_file), "file")
    except DatasetError as error:
        return str(error)
    table = checked.annotations
    return (
        [table.annotation(row) for row in table.rows_by_image],
        table.labels.tolist(),
        table.image_places.tolist(),
        [checked.images.info(place) for place in range(len(checked.images.ids))],
        (checked.categories, str(checked.skipped), checked.has_outlines, checked.has_keypoints),
    )


ODD_ANNOTATIONS = [
    {"attributes": {"occluded": True, "text": "\u00e9\\ud83d"}, "score": None},
    {"segmentation": RLE, "iscrowd": 1},
    {"segmentation": {"size": [8, 10], "counts": "X1X1"}, "iscrowd": True},
    {"segmentation": {"size": [8, 10], "counts": [1, "2"]}},
    {"segmentation": [*SQUARE, [1, 1, 2, 2]]},
    {"segmentation": [[1, 1, 4, 4, 1, "4"]]},
    {"segmentation": [[1, 1, 4, 4, 1, 4], 5]},
    {"segmentation": [[1, 1, 4, 4, 1, 10**400]]},
    {"segmentation": [[1, 1, 4, 4, 1, math.nan]]},
    {"segmentation": [[1, 1, 4, 4, 1, True]]},
    {"segmentation": [[1, 1, 4, 4, 1, 1e6]]},
    {"segmentation": [[]]},
    {"segmentation": "none"},
    {"segmentation": None},
    {"segmentation": []},
    {"segmentation": False},
    {"area": "16"},
    {"area": -1},
    {"area": None},
    {"iscrowd": "yes"},
    {"iscrowd": 0.0},
    {"keypoints": PERSON, "num_keypoints": 17},
    {"keypoints": [1, 2, 2]},
    {"keypoints": [*PERSON[:-1], "x"]},
    {"image_id": 77, "segmentation": "none"},
    {"bbox": [0, 0, 1e9, 3]},
    {"bbox": [0, 0, math.inf, 3]},
    {"bbox": [0, 0, 10**400, 3]},
    {"bbox": [0, 0, True, 3]},
    {"bbox": [0, 0, 3]},
    {"bbox": {"x": 0}},
    {"id": 1.0},
    {"id": "5"},
    {"id": True},
    {"id": 2},
    {"image_id": 1.0},
    {"category_id": 3.0},
    {"category_id": 99},
    {"image_id": 2**70},
    {"area": 10**400},
]


@pytest.mark.parametrize("odd", ODD_ANNOTATIONS, ids=repr)
def test_odd_annotations_fare_as_with_the_json_module(tmp_path, odd):
    entries = [annotation(1), annotation(9, **odd), annotation(2, 2)]
    sections = {"images": [image(2), image(1)], "annotations": entries}
    for change in ({}, {"keypoints": PERSON}):
        entries[0] |= change
        ann_file, _ = write(tmp_path, content(**sections), with_images=False)
        assert outcome(scan_coco_json, ann_file) == outcome(read_coco_json, ann_file)


@pytest.mark.parametrize(
    "data",
    [
        {**content(), "info": {"year": 2017}, "licenses": None},
        without(content(), "annotations"),
        without(content(), "images"),
        {**content(), "annotations": {}},
        {**content(), "annotations": [annotation(), 5]},
        {**content(), "images": [image(), "1.png"]},
        {**content(), "images": [image(), {**image(2), "height": 8.0}]},
        {**content(), "images": [image(), {**image(2), "file_name": "\ud800.png"}]},
        {**content(), "images": [image(), image(1)]},
        {**content(), "categories": [{"id": 3, "name": ""}]},
        {**content(), "categories": [3]},
        content(images=[], annotations=[]),
    ],
    ids=range(12),
)
def test_odd_files_fare_as_with_the_json_module(tmp_path, data):
    ann_file, _ = write(tmp_path, {"images": [], **data}, with_images=False)
    ann_file.write_text(json.dumps(data))
    assert outcome(scan_coco_json, ann_file) == outcome(read_coco_json, ann_file)


def test_many_annotations(tmp_path):
    """More than are looked at together, a damaged one among the last."""
    entries = [annotation(i, bbox=(0, 0, i, 2), area=i) for i in range(1, 9001)]
    entries[8999]["segmentation"] = [[1]]
    entries[6000]["segmentation"] = RLE
    ann_file, _ = write(tmp_path, content(annotations=entries), with_images=False)
    assert outcome(scan_coco_json, ann_file) == outcome(read_coco_json, ann_file)
    table = checked_content(scan_coco_json(ann_file), "file").annotations
    assert table.areas.tolist() == list(range(1, 9001))
    assert table.outline(8998) == SQUARE
    assert table.outline(6000)["counts"] == "X1X1"


def test_what_is_no_number_deep_inside_names_the_file(tmp_path):
    ann_file, _ = write(tmp_path, with_images=False)
    ann_file.write_text(ann_file.read_text().replace("16", "1-6"))
    with pytest.raises(DatasetError, match=r"annotations\.json.*JSON"):
        checked_content(scan_coco_json(ann_file), "file")


@pytest.mark.parametrize("read", [read_coco_json, scan_coco_json])
def test_missing_file(tmp_path, read):
    with pytest.raises(DatasetError, match=r"gone\.json"):
        read(tmp_path / "gone.json")


def test_a_folder_instead_of_a_file(tmp_path):
    with pytest.raises(DatasetError, match=tmp_path.name):
        read_coco_json(tmp_path)


@pytest.mark.parametrize("read", [read_coco_json, scan_coco_json])
@pytest.mark.parametrize("text", [b"", b"{", b'{"images": [}', b"\xff\xfe\x00", b"[" * 100_000])
def test_no_json(tmp_path, text, read):
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(DatasetError, match=r"bad\.json.*JSON: \S+"):
        read(path)


def test_a_byte_order_mark_is_no_reason_to_fail(tmp_path):
    path = tmp_path / "bom.json"
    path.write_text("\ufeff" + json.dumps(content()), encoding="utf-8")
    assert read_coco_json(path) == content()
    assert list(scan_coco_json(path)["annotations"]) == content()["annotations"]


def test_json_of_another_structure(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[]")
    with pytest.raises(DatasetError, match=r"a\.json.*object.*list"):
        read_coco_json(path)
