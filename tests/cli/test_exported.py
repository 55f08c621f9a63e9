"""A real export finds what its checkpoint finds, by the command."""

import json

import numpy as np
import pycocotools.mask as mask_utils
import pytest

from maskrcnn_benchmark.cli import main
from tests.contract.source_tree import ROOT

pytestmark = pytest.mark.slow

PHOTOS = sorted((ROOT / "datasets" / "quickstart" / "val").glob("*.jpg"))[:2]


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    assert main(["export", model, "--output", str(path), "--photos", str(PHOTOS[0])]) == 0
    return str(path)


def found(model, folder):
    words = ["--output", str(folder), "--save-json", "--threshold", "0", "--device", "cpu"]
    assert main(["predict", model, *map(str, PHOTOS), *words]) == 0
    return json.loads((folder / "predictions.json").read_text())


def test_both_files_find_the_same_objects(model, exported, tmp_path):
    ours, theirs = found(exported, tmp_path / "onnx"), found(model, tmp_path / "pth")
    assert len(ours) == len(theirs) == 4
    for key in ("file_name", "image_id", "category_id", "category_name"):
        assert [one[key] for one in ours] == [one[key] for one in theirs]
    # What an export is held to when it is written.
    np.testing.assert_allclose(*([one["bbox"] for one in of] for of in (ours, theirs)), atol=0.1)
    np.testing.assert_allclose(*([one["score"] for one in of] for of in (ours, theirs)), atol=1e-4)
    for one, other in zip(ours, theirs, strict=True):
        masks = [one["segmentation"]], [other["segmentation"]]
        assert one["segmentation"] == other["segmentation"] or mask_utils.iou(*masks, [0]) > 0.999
