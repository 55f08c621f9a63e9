"""Exported models run without PyTorch: what they find, and files that are none."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from centermask_runtime import Detections, Predictor
from centermask_runtime.errors import ConfigError, ImageReadError, UserError
from maskrcnn_benchmark.engine.detections import Detections as FullDetections
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from tests.centermask_runtime.small_export import IDS, expected_coco, metadata, write_export

SIZE_WH = (53, 40)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    return Predictor.from_onnx(write_export(path, metadata()))


def test_objects_are_those_of_the_package_itself(predictor):
    found = predictor(Image.new("RGB", SIZE_WH, "navy"))
    assert found.to_coco(1) == expected_coco(SIZE_WH)
    first, second = found
    assert (first.name, first.label, first.category_id, first.score) == ("cat", 1, IDS[0], 0.75)
    assert first.box == (0.0, 0.0, 26.5, 40.0)
    assert first.mask.shape == SIZE_WH[::-1]
    assert second.mask[:, :10].sum() == 0
    assert found.masks.shape == (2, 40, 53)
    np.testing.assert_array_equal(found.masks[1], second.mask)


def test_nothing_is_found_as_often_as_something(predictor, tmp_path):
    found = predictor(Image.new("RGB", (1, 1)))
    assert len(found) == len(list(found)) == 0
    assert found.to_coco(1) == []
    assert found.masks.shape == (0, 1, 1)
    assert found.above(0.5).draw(Image.new("RGB", (1, 1))).size == (1, 1)


def test_thresholds_keep_the_best_first(predictor):
    found = predictor(np.full((20, 30), 65535, dtype=np.uint16))
    assert predictor.score_threshold == 0.4
    assert found.above(0.5).names == ["cat", "dog"]
    assert found.select(np.array([1, 0])).above(0.5).names == ["cat", "dog"]
    assert found.above(0.75).names == ["cat"]
    assert len(found.above(0.76)) == 0


def test_a_list_of_photos_gives_a_list(predictor, tmp_path):
    photo = tmp_path / "a.png"
    Image.new("L", (9, 8), 255).save(photo)
    sizes = [found.size for found in predictor([photo, Image.new("RGB", SIZE_WH, "red")])]
    assert sizes == [(9, 8), SIZE_WH]


def test_what_is_drawn_lies_on_the_objects(predictor):
    photo = Image.new("RGB", (120, 90), (40, 40, 40))
    drawn = np.asarray(predictor(photo).draw(photo)).astype(int)
    assert drawn.shape == (90, 120, 3)
    # Right of both boxes nothing changes.
    assert (drawn[:, 110:] == 40).all()
    assert (drawn[45, 20] != 40).any()
    # The outline is at full strength where the mask ends; the inside is tinted.
    assert abs(drawn - 40).max() > 2 * abs(drawn[45, 30] - 40).max()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format_version": 2}, "format_version"),
        ({"kind": "dense"}, "dense"),
        ({"class_names": "cat"}, "class_names"),
        ({"class_names": ["cat"]}, "class"),
        ({"pixel_offset": 3}, "pixel_offset"),
        ({"score_threshold": 5.0}, "score_threshold"),
        ({"mask_paste": {"rule": "other", "threshold": 0.5, "padding": 1}}, "other"),
        ({"mask_paste": {"rule": "inclusive", "threshold": -1.0, "padding": 1}}, "-1.0"),
    ],
)
def test_metadata_that_cannot_be_used_is_named(tmp_path, changes, named):
    path = write_export(tmp_path / "model.onnx", metadata(**changes))
    with pytest.raises(UserError, match=named) as error:
        Predictor.from_onnx(path)
    assert str(path) in str(error.value)


def test_files_that_are_no_export_are_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.onnx"):
        Predictor.from_onnx(tmp_path / "absent.onnx")
    for name, content in {"text.onnx": b"no model", "empty.onnx": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            Predictor.from_onnx(tmp_path / name)
    whole = write_export(tmp_path / "whole.onnx", metadata()).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.onnx"):
        Predictor.from_onnx(tmp_path / "cut.onnx")
    with pytest.raises(UserError, match="centermask"):
        Predictor.from_onnx(write_export(tmp_path / "other.onnx"))


def test_other_inputs_and_outputs_are_named(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(UserError, match="image"):
        Predictor.from_onnx(write_export(path, metadata(), input_shape=("height", "width", 4)))
    with pytest.raises(UserError, match="scores"):
        Predictor.from_onnx(write_export(path, metadata(), leave_out=("scores",)))


def test_a_model_of_boxes_has_no_masks(tmp_path):
    content = metadata(mask_paste=None)
    path = write_export(tmp_path / "model.onnx", content, leave_out=("masks", "mask_scores"))
    found = Predictor.from_onnx(path)(Image.new("RGB", SIZE_WH, "navy"))
    assert found.masks is None
    assert "segmentation" not in json.dumps(found.to_coco(1))
    assert next(iter(found)).mask is None


def test_unknown_devices_are_named(predictor, tmp_path):
    path = write_export(tmp_path / "model.onnx", metadata())
    with pytest.raises(ConfigError, match="--device"):
        Predictor.from_onnx(path, device="tpu")
    assert len(Predictor.from_onnx(path, device="cpu", threads=1)(Image.new("RGB", (9, 9)))) == 0


def test_photos_that_cannot_be_read_are_named(predictor, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(ImageReadError, match=r"bad\.jpg"):
        predictor(tmp_path / "bad.jpg")


def test_damaged_files_are_errors_of_one_kind_or_still_a_model(tmp_path):
    whole = write_export(tmp_path / "whole.onnx", metadata()).read_bytes()
    random, path = np.random.default_rng(0), tmp_path / "damaged.onnx"
    photo, refused = Image.new("RGB", (30, 20), "navy"), 0
    for _ in range(80):
        content = bytearray(whole)
        for place in random.integers(len(content), size=4):
            content[place] = random.integers(256)
        path.write_bytes(content)
        try:
            Predictor.from_onnx(path)(photo).to_coco(1)
        except UserError:
            refused += 1
    assert refused


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDA:UserWarning")
def test_a_gpu_that_does_not_run_is_never_passed_over_in_silence(tmp_path, monkeypatch, caplog):
    """As where onnxruntime-gpu is installed and its CUDA cannot be loaded."""
    path = write_export(tmp_path / "model.onnx", metadata())
    known = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: known)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match="CUDAExecutionProvider"):
            Predictor.from_onnx(path, device)
    assert not caplog.records
    found = Predictor.from_onnx(path)
    assert found.device == "cpu"
    assert "CUDAExecutionProvider" in caplog.text
    caplog.clear()
    assert Predictor.from_onnx(path, "cpu").device == "cpu"
    assert not caplog.records


@pytest.mark.parametrize("offset", [0, 1])
def test_keypoints_are_those_of_the_package(offset):
    random = np.random.default_rng(4)
    boxes = np.array([[5, 5, 60, 70], [20, 10, 90, 80]], dtype=np.float32)
    places = random.uniform(10, 70, (2, 17, 2)).astype(np.float32)
    logits = random.uniform(-5, 9, (2, 17)).astype(np.float32)
    about = {"class_names": {1: "person"}, "class_ids": {1: 3}}
    scores, labels = np.array([0.9, 0.8], dtype=np.float32), np.array([1, 1])
    mine = Detections(
        boxes=boxes,
        labels=labels,
        scores=scores,
        size=(100, 90),
        keypoints=places,
        keypoint_scores=logits,
        keypoint_offset=offset,
        **about,
    )
    points = np.concatenate([places, np.ones((2, 17, 1), dtype=np.float32)], axis=2)
    keypoints = PersonKeypoints(points, (100, 90), pixel_offset=offset)
    keypoints.add_field("logits", torch.from_numpy(logits))
    whole = BoxList(torch.from_numpy(boxes), (100, 90))
    whole.add_field("labels", torch.from_numpy(labels))
    whole.add_field("scores", torch.from_numpy(scores))
    whole.add_field("keypoints", keypoints)
    theirs = FullDetections(whole, **about)
    assert mine.to_coco(5) == theirs.to_coco(5)
    assert mine.resize((50, 180)).to_coco(5)[0]["keypoints"] == pytest.approx(
        theirs.resize((50, 180)).get_field("keypoints").with_pixel_offset(1).keypoints[0].flatten(),
        abs=1e-4,
    )
    assert mine.above(0.85).keypoints.shape == (1, 17, 2)
    photo = Image.new("RGB", (100, 90))
    drawn = [np.asarray(one.draw(photo), dtype=int) for one in (mine, theirs)]
    assert (np.abs(drawn[0] - drawn[1]).max(axis=2) > 60).mean() < 0.01
    without = dataclasses.replace(mine, keypoints=None, keypoint_scores=None)
    assert "keypoints" not in without.to_coco(5)[0]
    assert not np.array_equal(without.draw(photo), mine.draw(photo))
