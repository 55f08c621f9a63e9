"""Models of detectron2's zoo, small, against a restatement of what they compute.

Their files are pickles under detectron2's names; anchors, rois and classes are restated in loops.
"""

import pickle

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from tests.parity import detectron2_models as theirs
from tests.parity import restated_detectron2 as rules

MODELS = {
    "faster_rcnn_R_50_FPN_1x": theirs.two_stage_shapes(()),
    "mask_rcnn_R_50_FPN_3x": theirs.two_stage_shapes(("mask",)),
    "keypoint_rcnn_R_50_FPN_3x": theirs.two_stage_shapes(("keypoint",)),
    "retinanet_R_50_FPN_3x": theirs.retinanet_shapes(),
}


class Case:
    """A model with the weights of a file, the restated one, and an image."""

    def __init__(self, name, folder):
        self.cfg = get_default_config()
        self.cfg.merge_from_file(f"configs/detectron2/{name}.yaml")
        self.cfg.merge_from_list(["MODEL.DEVICE", "cpu", *theirs.small_settings()])
        self.model = build_detection_model(self.cfg).eval()
        shapes = theirs.their_body(self.model.state_dict()) | MODELS[name]
        weights = theirs.draw_weights(shapes)
        path = folder / "model_final_0123ab.pkl"
        arrays = {key: value.numpy() for key, value in weights.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
        DetectronCheckpointer(self.cfg, self.model).load(path, use_latest=False, strict=True)
        noise = torch.randn(3, *theirs.SIZE_HW, generator=torch.Generator().manual_seed(3))
        self.images = to_image_list([60 * noise.cumsum(dim=2) / 8], 32)
        with torch.inference_mode():
            self.restated = theirs.Restated(weights, self.model.backbone.body(self.images.tensors))
            (self.found,) = self.model(self.images)


def assert_same_boxes(found, boxes, scores, labels):
    assert len(found) == len(boxes) > 5
    assert len(set(labels)) > 1
    np.testing.assert_array_equal(found.labels - 1, labels)
    np.testing.assert_allclose(found.scores, scores, atol=1e-5)
    np.testing.assert_allclose(found.bbox, boxes, atol=0.01)


@pytest.mark.parametrize("name", [name for name in MODELS if "rcnn" in name])
def test_two_stages(name, tmp_path):
    case = Case(name, tmp_path)
    with torch.inference_mode():
        pyramid = case.restated.pyramid(2)
        boxes, scores, labels = case.restated.detections(pyramid)
        assert_same_boxes(case.found, boxes, scores, labels)
        if case.found.has_field("mask"):
            assert_same_masks(case, pyramid, boxes, labels)
        if case.found.has_field("keypoints"):
            points = case.found.get_field("keypoints")
            expected = np.array([case.restated.keypoints(pyramid, box) for box in boxes[:3]])
            np.testing.assert_allclose(points.keypoints[:3, :, :2], expected[..., :2], atol=0.02)
            np.testing.assert_allclose(points.get_field("logits")[:3], expected[..., 2], atol=1e-3)


def assert_same_masks(case, pyramid, boxes, labels):
    probs = case.found.get_field("mask")[:, 0]
    planes = case.found.predicted_masks.planes().numpy().astype(bool)
    for place in range(4):
        expected = case.restated.mask(pyramid, boxes[place], labels[place])
        torch.testing.assert_close(probs[place], expected, rtol=0, atol=1e-4)
        pasted = rules.paste(expected.numpy(), boxes[place], theirs.SIZE_HW)
        assert (pasted & planes[place]).sum() >= 0.99 * (pasted | planes[place]).sum() > 0


def test_retinanet(tmp_path):
    case = Case("retinanet_R_50_FPN_3x", tmp_path)
    with torch.inference_mode():
        assert_same_boxes(case.found, *case.restated.dense_detections())
