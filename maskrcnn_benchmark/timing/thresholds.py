"""The threshold at which a model with random weights has as much to do as a trained one."""

from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.families import FAMILIES
from maskrcnn_benchmark.structures.image_list import ImageList

CANDIDATES: Final = 1000
"""Predictions of an image that exceed the threshold."""
Detector: TypeAlias = Any
"""Any module with the parts of ``GeneralizedRCNN``."""


@torch.no_grad()
def make_threshold(cfg: CfgNode, model: Detector, images: ImageList) -> tuple[str, float]:
    """Name and value of the setting that lets CANDIDATES predictions of an image be candidates.

    A model with random weights is sure of nothing, or of everything.

    Args:
        cfg: the settings of the model.
        model: made of them.
        images: that the threshold is to fit.
    """
    spec = ArchitectureSpec.from_config(cfg)
    family = FAMILIES[spec.proposal]
    scores = class_scores(model.eval(), images, spec.num_classes, family.ignores_background)
    number = min(CANDIDATES * len(images), len(scores))
    threshold = float(scores.topk(number).values[-1])
    return family.threshold_key, threshold


def class_scores(
    model: Detector, images: ImageList, num_classes: int, ignores_background: bool = False
) -> Tensor:
    """What the thresholds of a model in evaluation mode are compared with, (K,) for all images.

    Of a box head and of dense detectors with a sigmoid for each class that is the probability of
    every class at every place; of those with a softmax, that of the best class of each place.
    ``ignores_background`` is that of the ``Family``.

    Raises:
        ValueError: the predictions fit neither.
    """
    if model.has_roi_heads and "box" in model.roi_heads:
        return _scores_of_box_head(model, images)
    stage = model.rpn
    features = model.backbone(images.tensors)
    logits, points = stage.outputs(*stage.head(features)).logits, stage.anchor_generator(features)
    scores = [
        _scores_of_level(level.float(), len(level_points), num_classes, ignores_background)
        for level, level_points in zip(logits, points, strict=True)
    ]
    return torch.cat(scores)


def _scores_of_box_head(model: Detector, images: ImageList) -> Tensor:
    seen: list[Tensor] = []
    predictor = model.roi_heads["box"].predictor
    hook = predictor.register_forward_hook(lambda _module, _inputs, found: seen.append(found[0]))
    try:
        model(images)
    finally:
        hook.remove()
    return seen[0].float().softmax(dim=1)[:, 1:].flatten()


def _scores_of_level(
    logits: Tensor, num_points: int, num_classes: int, ignores_background: bool
) -> Tensor:
    """Those of maps (N, channels, H, W) that have ``num_points`` points an image."""
    num_images, channels, height, width = logits.shape
    num_logits = channels * height * width // num_points
    if num_logits == num_classes - 1:
        return logits.sigmoid().flatten()
    if num_logits != num_classes:
        raise ValueError(
            f"class scores: expected {num_classes} or {num_classes - 1} logits a point, got "
            f"{num_logits}"
        )
    of_points = logits.view(num_images, -1, num_classes, height, width)
    if ignores_background:
        return of_points[:, :, 1:].sigmoid().flatten()
    probs = of_points.softmax(dim=2)
    return probs[:, :, 1:].amax(dim=2).flatten()
