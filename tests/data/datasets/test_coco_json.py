"""What is told about files that are no JSON."""

import json

import pytest

from maskrcnn_benchmark.data.datasets.coco_json import read_coco_json
from maskrcnn_benchmark.data.errors import DatasetError
from tests.data.tiny_coco import content, write


def test_the_content_comes_as_it_is(tmp_path):
    ann_file, root = write(tmp_path, with_images=False)
    assert read_coco_json(ann_file, root) == content()


def test_missing_file(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.json"):
        read_coco_json(tmp_path / "gone.json")


def test_a_folder_instead_of_a_file(tmp_path):
    with pytest.raises(DatasetError, match=tmp_path.name):
        read_coco_json(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b'{"images": [}', b"\xff\xfe\x00", b"[" * 100_000])
def test_no_json(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(DatasetError, match=r"bad\.json.*JSON: \S+"):
        read_coco_json(path)


def test_a_byte_order_mark_is_no_reason_to_fail(tmp_path):
    path = tmp_path / "bom.json"
    path.write_text("\ufeff" + json.dumps(content()), encoding="utf-8")
    assert read_coco_json(path) == content()


def test_json_of_another_structure(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[]")
    with pytest.raises(DatasetError, match=r"a\.json.*object.*list"):
        read_coco_json(path)
