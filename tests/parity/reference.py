"""Runs our model on a reference case of the original program; shared by the parity tests.

Most of what the tolerances allow is the order of sums in convolutions: where PyTorch uses two
threads and AVX-512, features, boxes and scores are those of the reference bit for bit, and norms of
gradients differ by some 1e-6.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.modeling.roi_heads.head import MaskTargets
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.loss import MaskIoULoss
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.golden.deterministic_weights import deterministic_state_dict
from tests.golden_data import GOLDEN_DIR, golden_json, golden_npz

CASES = (
    "centermask_M_v2_FPN_lite_res600_ms_bs16_4x",
    "centermask_R_50_FPN_1x",
    "centermask_R_50_FPN_lite_res600_ms_bs16_4x",
    "centermask_V_39_eSE_FPN_ms_3x",
    "centermask_V_39_eSE_dconv_FPN_1x",
    "centermask_X_101_FPN_1x",
    "fcos_R_50_FPN_1x",
    "retinanet_R-50-FPN_1x",
)
# One evaluation of these takes more than a few seconds.
SLOW_CASES = (
    "centermask_V_39_eSE_FPN_ms_3x",
    "centermask_V_39_eSE_dconv_FPN_1x",
    "centermask_X_101_FPN_1x",
)


class Tolerances(NamedTuple):
    """How far results may be from the reference's: absolutely, and gradient norms relatively."""

    scores: float = 1e-4
    masks: float = 2e-3
    gradients: float = 2e-3


# Where rounding alone moves results by more. With two threads, those of the reference, all features
# of X-101 are equal to the last bit; with one, mask scores differ by 2e-4. The reference itself,
# with another library of convolutions, differs from itself by 6e-3 in its masks. Gradients of V-39
# in double precision differ from the reference by 0.4 %.
_LOOSER = {
    "centermask_V_39_eSE_FPN_ms_3x": Tolerances(gradients=5e-3),
    "centermask_X_101_FPN_1x": Tolerances(scores=5e-4, masks=1e-2, gradients=5e-3),
}


def tolerances(case: str) -> Tolerances:
    """The tolerances of a case."""
    return _LOOSER.get(case, Tolerances())


def cases(part: str = "state_dict", prefix: str = "") -> list[Any]:
    """The cases of that prefix whose reference has that part, for ``parametrize``."""
    return [
        pytest.param(case, marks=pytest.mark.slow if case in SLOW_CASES else ())
        for case in CASES
        if case.startswith(prefix) and part in golden_json(case)
    ]


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation of the two reference photos gives."""

    features: tuple[Tensor, ...]
    head: Any
    detections: list[BoxList]


def make_config(case: str, *extra: Any) -> Any:
    """The settings of a case."""
    cfg = get_default_config()
    info = golden_json(case)
    cfg.merge_from_file(info["config"])
    cfg.merge_from_list([*info["overrides"], *extra])
    return cfg


@cache
def make_dataset(case: str) -> COCODataset:
    """The two photos with the preprocessing of a case."""
    return COCODataset(
        str(GOLDEN_DIR / "annotations.json"),
        str(GOLDEN_DIR / "images"),
        remove_images_without_annotations=False,
        transforms=build_transforms(make_config(case), is_train=False),
    )


def make_batch(case: str) -> tuple[Any, list[BoxList]]:
    """Images and targets of a case."""
    examples = [make_dataset(case)[i] for i in range(2)]
    divisor = make_config(case).DATALOADER.SIZE_DIVISIBILITY
    images = to_image_list([example[0] for example in examples], divisor)
    return images, [example[1] for example in examples]


def first_polygons(masks: SegmentationMask) -> SegmentationMask:
    """The instances with their first polygon alone, which the original took for the whole."""
    first = [[polygon.ravel() for polygon in each[:1]] for each in masks.instances.polygons]
    return SegmentationMask(first, masks.size)


class OriginalMaskIoULoss(MaskIoULoss):
    """Counts only the first polygon of an instance in the targets."""

    def compute_targets(self, masks: Tensor, targets: MaskTargets) -> Tensor:
        """IoU (R,) of the predicted masks with the ground truth."""
        instances = [first_polygons(each) for each in targets.instances]
        return super().compute_targets(masks, targets._replace(instances=instances))


def make_model(case: str) -> GeneralizedRCNN:
    """A new model with the reference weights.

    upstream: all-polygons, which the comparison takes back.
    """
    model = build_detection_model(make_config(case))
    model.load_state_dict(deterministic_state_dict(model.state_dict()))
    if model.has_roi_heads and "maskiou" in model.roi_heads:
        head = model.roi_heads["maskiou"]
        head.loss = OriginalMaskIoULoss(weight=head.loss.weight)
    return model


@cache
def evaluate(case: str) -> Evaluation:
    """Features, head outputs and detections of a case."""
    model = make_model(case).eval()
    images, _ = make_batch(case)
    with torch.inference_mode():
        features = model.backbone(images.tensors)
        return Evaluation(features, model.rpn.head(features), model(images))


def sample(case: str, name: str, tensor: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Ours and the reference's samples of a tensor."""
    step = golden_json(case)["tensors"][name]["step"]
    assert list(tensor.shape) == golden_json(case)["tensors"][name]["shape"]
    return tensor.flatten()[::step].numpy(), golden_npz(case)[name]


def match_detections(case: str, image: int, detections: BoxList) -> list[tuple[int, int]]:
    """Pairs (ours, reference) of the same label with the nearest boxes."""
    data = golden_npz(case)
    boxes, labels = data[f"det{image}_boxes"], data[f"det{image}_labels"]
    ours, our_labels = detections.bbox.numpy(), detections.labels.numpy()
    pairs = []
    for reference, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        distance = np.abs(ours - box).max(axis=1)
        distance[our_labels != label] = np.inf
        nearest = int(distance.argmin())
        if distance[nearest] < 0.05:
            pairs.append((nearest, reference))
    assert len({pair[0] for pair in pairs}) == len(pairs), "two references share a detection"
    return pairs
