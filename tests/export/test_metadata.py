import dataclasses
import json
import subprocess
import sys

import pytest

from centermask_runtime.metadata import (
    ExportMetadata,
    MapRecord,
    MetadataError,
    PasteRecord,
    ResizeRecord,
)

DETECTOR = ExportMetadata(
    package_version="0.1.0",
    kind="detector",
    model="fcos, R-50-FPN",
    class_names=("Köln", "b"),
    category_ids=(7, 9),
    pixel_mean=(1.5, 2.0, 3.0),
    pixel_std=(1.0, 1.0, 1.0),
    channel_order="bgr",
    scale=255,
    resize=ResizeRecord(
        rule="shorter_side", sides="truncate", min_size=600, max_size=1000, divisibility=32
    ),
    pixel_offset=1,
    mask_paste=PasteRecord(rule="inclusive", threshold=0.5, padding=1),
    score_threshold=None,
    max_detections=100,
    nms_threshold=0.6,
    config="MODEL: {}\n",
    opset=20,
)
DENSE = dataclasses.replace(
    DETECTOR,
    kind="dense",
    mask_paste=None,
    score_threshold=0.25,
    maps=(MapRecord(name="logits_0", stride=8, meaning="class scores"),),
)


@pytest.mark.parametrize("metadata", [DETECTOR, DENSE], ids=["detector", "dense"])
def test_what_is_written_is_read(metadata):
    assert ExportMetadata.from_json(metadata.to_json()) == metadata


def test_further_entries_are_passed_over():
    content = json.loads(DETECTOR.to_json()) | {"later": 1}
    assert ExportMetadata.from_json(json.dumps(content)) == DETECTOR


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format_version": 2}, "format_version"),
        ({"kind": "other"}, "kind"),
        ({"class_names": "abc"}, "class_names"),
        ({"class_names": ["a", 1]}, r"class_names\[1\]"),
        ({"resize": {}}, "rule"),
        ({"resize": None}, "resize"),
        ({"max_detections": True}, "max_detections"),
        ({"pixel_offset": "1"}, "pixel_offset"),
    ],
)
def test_wrong_entries_are_named(change, told):
    text = json.dumps(json.loads(DETECTOR.to_json()) | change)
    with pytest.raises(MetadataError, match=told):
        ExportMetadata.from_json(text)


@pytest.mark.parametrize("text", [None, "", "[]", "{", "null", "{}", "[" * 100_000])
def test_files_of_others_are_refused(text):
    with pytest.raises(MetadataError, match="metadata 'centermask'"):
        ExportMetadata.from_json(text)


def test_a_missing_entry_is_named():
    content = json.loads(DETECTOR.to_json())
    del content["config"]
    with pytest.raises(MetadataError, match="config"):
        ExportMetadata.from_json(json.dumps(content))


def test_reading_it_needs_no_package():
    code = "import sys, maskrcnn_benchmark.export.metadata; print({*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "yacs"} & set(ran.stdout.replace("'", "").split(", "))
