"""Detectors of torchvision find here what they find there, from photos to boxes and masks."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.weights.sources import make_settings_match_weights
from tests.contract.source_tree import ROOT
from tests.golden_data import GOLDEN_DIR
from tests.parity.torchvision_models import make_torchvision_detector

MIN_SIZE, MAX_SIZE = 160, 250
PHOTOS = (
    GOLDEN_DIR / "images" / "000000005001.jpg",
    GOLDEN_DIR / "images" / "000000166918.jpg",
    sorted((ROOT / "datasets" / "quickstart" / "val").glob("*.jpg"))[0],
)
DETECTORS = [
    "fcos_resnet50_fpn",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "retinanet_resnet50_fpn",
            "retinanet_resnet50_fpn_v2",
            "fasterrcnn_resnet50_fpn",
            "fasterrcnn_resnet50_fpn_v2",
            "maskrcnn_resnet50_fpn",
            "maskrcnn_resnet50_fpn_v2",
            "keypointrcnn_resnet50_fpn",
        )
    ),
]


def make_predictor(name, weights):
    cfg = get_default_config()
    cfg.merge_from_file(f"configs/torchvision/{name}.yaml")
    sizes = ["INPUT.MIN_SIZE_TEST", MIN_SIZE, "INPUT.MAX_SIZE_TEST", MAX_SIZE]
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", str(weights), *sizes])
    assert make_settings_match_weights(cfg) == ()
    return Predictor.from_config(cfg, str(weights))


def detect_there(model, photo):
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        return model([pixels])[0]


def pair_up(theirs, ours):
    """For each of their detections the place of ours of its label with the nearest box."""
    distances = torch.cdist(theirs["boxes"], ours.bbox, p=math.inf)
    distances[theirs["labels"][:, None] != ours.labels] = math.inf
    assert distances.amin(dim=1).max() < 0.05
    order = distances.argmin(dim=1)
    assert len(order.unique()) == len(order)
    return order


def assert_same_masks(theirs, ours, order):
    there, here = theirs["masks"][:, 0] > 0.5, ours.predicted_masks.planes().bool()[order]
    common, either = ((there & here).sum(dim=(1, 2)), (there | here).sum(dim=(1, 2)))
    assert either.max() > 0
    assert (common >= 0.99 * either).all()


@pytest.mark.parametrize("name", DETECTORS)
def test_the_same_detections(name, tmp_path):
    model = make_torchvision_detector(name, min_size=MIN_SIZE, max_size=MAX_SIZE)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    predictor = make_predictor(name, tmp_path / "theirs.pth")
    # Keypoints of a hundred random boxes take torchvision seconds. Second versions read photos as
    # the first do, and have longer heads.
    photos = PHOTOS[:1] if name.startswith("keypoint") or name.endswith("_v2") else PHOTOS
    for path in photos:
        photo = Image.open(path).convert("RGB")
        theirs, ours = detect_there(model, photo), predictor(photo)
        assert len(ours) == len(theirs["boxes"]) > 0, path
        order = pair_up(theirs, ours)
        torch.testing.assert_close(ours.scores[order], theirs["scores"], rtol=0, atol=1e-4)
        assert (ours.scores.diff() <= 0).all()
        if "masks" in theirs:
            assert_same_masks(theirs, ours, order)
        if "keypoints" in theirs:
            points = ours.get_field("keypoints")
            torch.testing.assert_close(
                points.keypoints[order], theirs["keypoints"], rtol=0, atol=0.05
            )
            torch.testing.assert_close(
                points.get_field("logits")[order], theirs["keypoints_scores"], rtol=0, atol=2e-3
            )
