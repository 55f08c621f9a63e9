"""A demo of the original: a photo through a model, the best detections, and what is drawn."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.data.transforms import Compose, Normalize, Resize, ToTensor
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.roi_heads.mask_head.inference import Masker
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.utils import cv2_util
from tests.contract.source_tree import ROOT

WIDTH, HEIGHT = 60, 40


def run(cfg, model):
    """The detections of a grey photo, in px of the photo."""
    photo = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8))
    transform = Compose(
        [
            Resize(64, 96),
            ToTensor(),
            Normalize(
                mean=cfg.INPUT.PIXEL_MEAN,
                std=cfg.INPUT.PIXEL_STD,
                to_bgr255=cfg.INPUT.TO_BGR255,
            ),
        ]
    )
    image, _ = transform(photo, None)
    images = to_image_list(image, cfg.DATALOADER.SIZE_DIVISIBILITY).to(cfg.MODEL.DEVICE)
    with torch.no_grad():
        predictions = [each.to(torch.device("cpu")) for each in model(images)]
    return predictions[0].resize((WIDTH, HEIGHT))


def build(file, *settings):
    cfg = global_cfg.clone()
    cfg.merge_from_file(str(ROOT / "configs" / file))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *settings])
    cfg.freeze()
    return cfg, build_detection_model(cfg).to(torch.device(cfg.MODEL.DEVICE)).eval()


def best_of(predictions, threshold):
    scores = predictions.get_field("scores")
    predictions = predictions[torch.nonzero(scores > threshold).squeeze(1)]
    _, order = predictions.get_field("scores").sort(0, descending=True)
    return predictions[order]


def test_masks_are_pasted_and_outlined():
    cfg, model = build(
        "centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml",
        *("MODEL.FCOS.INFERENCE_TH", 0.0, "TEST.DETECTIONS_PER_IMG", 5),
    )
    prediction = run(cfg, model)
    assert len(prediction) >= 5
    masker = Masker(threshold=0.1, padding=1)
    masks = masker([prediction.get_field("mask")], [prediction])[0]
    prediction.add_field("mask", masks)
    top = best_of(prediction, 0.0)
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for mask, box, label in zip(
        top.get_field("mask").numpy(), top.bbox, top.get_field("labels").tolist(), strict=True
    ):
        box = box.to(torch.int64)
        cv2.rectangle(image, tuple(box[:2].tolist()), tuple(box[2:].tolist()), (9, 9, label), 1)
        assert mask.shape == (1, HEIGHT, WIDTH)
        contours, _ = cv2_util.findContours(mask[0], cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(image, contours, -1, (0, 255, 0), 3)
    assert image.any()


def test_a_masker_takes_one_image_or_several():
    boxes = BoxList([[2, 1, 9, 8]], (20, 10))
    probabilities = torch.ones(1, 1, 28, 28)
    for masks in (
        Masker()([probabilities], [boxes]),
        Masker(threshold=0.5, padding=1)(probabilities, boxes),
        Masker(0.5, 1)((probabilities,), (boxes,)),
    ):
        assert isinstance(masks, list)
        assert masks[0].dtype == torch.uint8
        assert masks[0].shape == (1, 1, 10, 20)
        assert masks[0][0, 0, 1:9, 2:10].all()
        assert masks[0].sum() < 100
    assert Masker()([probabilities[:0]], [boxes[:0]])[0].shape[:2] == (0, 1)


@pytest.mark.slow
def test_keypoints_are_drawn_with_their_names():
    cfg, model = build(
        "e2e_keypoint_rcnn_R_50_FPN_1x.yaml",
        *("MODEL.ROI_HEADS.SCORE_THRESH", 0.0, "TEST.DETECTIONS_PER_IMG", 3),
        *("MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 10),
    )
    top = best_of(run(cfg, model), 0.0)
    keypoints = top.get_field("keypoints")
    points = keypoints.keypoints
    logits = keypoints.get_field("logits")
    rows = torch.cat((points[:, :, :2], logits[:, :, None]), dim=2).numpy()
    assert rows.shape == (len(top), 17, 3)
    shoulders = [PersonKeypoints.NAMES.index(f"{side}_shoulder") for side in ("left", "right")]
    assert shoulders == [5, 6]
    assert all(max(line) < len(PersonKeypoints.NAMES) for line in PersonKeypoints.CONNECTIONS)
