"""What is timed: from the JPEG files of some photos to COCO's run lengths of 50 masks each."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.gpu.scenes import make_model, set_threshold
from benchmarks.inference.stages import StageTimes
from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.data.collate_batch import pad_together
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.data.transforms import build_pixel_normalizer, build_pixel_transforms
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.structures.image_list import ImageList

CPU = torch.device("cpu")
DETECTIONS = 50
CANDIDATES = 1000
"""Predictions of an image that exceed the threshold."""

Photos = Sequence[Path]


class Subject(NamedTuple):
    """A model of the tables.

    Attributes:
        title: what the tables call it.
        config: name under configs/.
        short_side: of its input, px.
        long_side: at most, px.
    """

    title: str
    config: str
    short_side: int
    long_side: int


SUBJECTS = {
    "R-50": Subject("CenterMask R-50, 800/1333", "centermask/centermask_R_50_FPN_1x", 800, 1333),
    "V2-39": Subject(
        "CenterMask-Lite V2-39, 600/1000",
        "centermask/centermask_V_39_eSE_FPN_lite_res600_ms_bs16_4x",
        *(600, 1000),
    ),
    "MV2": Subject(
        "CenterMask-Lite MV2, 600/1000",
        "centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x",
        *(600, 1000),
    ),
}


class Inputs:
    """Photos as a model of a configuration is given them.

    Args:
        cfg: settings; INPUT and DATALOADER are read.
        backend: INPUT.RESIZE_BACKEND.
    """

    def __init__(self, cfg: CfgNode, backend: str) -> None:
        ours = cfg.clone()
        ours.INPUT.RESIZE_BACKEND = backend
        self.transform = build_pixel_transforms(ours, is_train=False)
        self.normalizer = build_pixel_normalizer(ours)
        self.divisor = cfg.DATALOADER.SIZE_DIVISIBILITY

    def __call__(self, photos: Iterable[Image.Image]) -> ImageList:
        """The normalised batch of some photos."""
        pixels = [self.transform(photo, None)[0] for photo in photos]
        return pad_together(pixels, self.divisor, self.normalizer).to(CPU)


class OurDetector:
    """A model of this package in an inference mode.

    Args:
        cfg: its settings.
        model: with weights, in evaluation mode.
        mode: name in INFERENCE_MODES.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, mode: str) -> None:
        self.inputs = Inputs(cfg, "pil" if mode == "plain" else "fast")
        self.detect = INFERENCE_MODES[mode](model, CPU)
        self.times = StageTimes()
        self.times.watch(self.detect)

    def __call__(self, paths: Photos) -> list[Any]:
        """The run lengths of the masks in each photo."""
        times = self.times
        times.clear()
        with torch.no_grad():
            with times.stage("decode"):
                photos = [read_image(path) for path in paths]
            with times.stage("resize"):
                images, sizes = self.inputs(photos), [photo.size for photo in photos]
                # Large photos would take as much memory as the network.
                del photos
            with times.stage("selection"):
                found = self.detect(images)
            with times.stage("paste, RLE"):
                sized = [each.resize(size) for each, size in zip(found, sizes, strict=True)]
                return [boxes.predicted_masks.encode() for boxes in sized]

    def dense(self, images: Tensor) -> object:
        """The outputs of backbone, pyramid and head for a batch of images."""
        return self.detect.rpn.head(self.detect.backbone(images))  # type: ignore[attr-defined]


def make_subject(
    subject: Subject, paths: Photos, detections: int = DETECTIONS
) -> tuple[CfgNode, GeneralizedRCNN]:
    """The settings and the model of a subject, which finds so many objects in each photo."""
    options = ["MODEL.WEIGHT", "", "MODEL.DEVICE", "cpu", "TEST.DETECTIONS_PER_IMG", detections]
    cfg = load_settings(f"configs/{subject.config}.yaml", options)
    images = Inputs(cfg, "pil")(read_image(path) for path in paths[:1])
    set_threshold(cfg, make_model(cfg, images, CPU), images)
    return cfg, make_model(cfg, images, CPU).eval()
