"""Losses of YOLACT (arXiv 1904.02689, sections 3.5 and 4; YOLACT++, section 5.1).

Shapes: N images, L anchors over all levels, C foreground classes, P prototypes, G objects of an
image, T positives of an image or of a batch, h x w cells of the prototypes, H0 x W0 of the finest
map.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers import smooth_l1_loss
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.yolact.anchors import encode_boxes
from maskrcnn_benchmark.modeling.dense.yolact.head import YolactOutputs
from maskrcnn_benchmark.modeling.dense.yolact.matching import BACKGROUND, Matches, YolactMatcher
from maskrcnn_benchmark.modeling.dense.yolact.settings import YolactSettings
from maskrcnn_benchmark.modeling.targets import cat_images
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.prototype_masks import mix_prototypes
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

_MASK_THRESHOLD = 0.5


class YolactTarget(NamedTuple):
    """What is to be found in one image.

    Attributes:
        boxes: (G, 4) xyxy in parts of the image.
        labels: (G,) classes from 1.
        masks: (G, H, W) 0 or 1 floats.
        crowds: (B, 4) boxes of crowds.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    crowds: Tensor

    @classmethod
    def of(cls, target: BoxList, device: torch.device) -> "YolactTarget":
        """The target of ``labels`` (crowds have negative ones) and ``masks`` in px of the input."""
        width, height = target.size
        boxes = target.with_pixel_offset(0).convert("xyxy").bbox
        edges = boxes / boxes.new_tensor([width, height] * 2)
        is_object = target.labels > 0
        (chosen,) = is_object.nonzero(as_tuple=True)
        masks = torch.zeros((0, height, width), device=device)
        if len(chosen) > 0:
            field: SegmentationMask = target.get_field("masks")
            masks = field[chosen.cpu()].to_bitmasks().to(device).float()
        return cls(edges[chosen], target.labels[chosen], masks, edges[~is_object])


class YolactLoss:
    """The losses of a batch.

    Args:
        settings: weights and limits.
        matcher: gives every anchor what it learns.
        semantic: finest map -> (N, C, H0, W0) logits.
        maskiou_net: (T, h, w) masks -> (T, C) IoUs; None: masks are not re-scored.
    """

    def __init__(
        self,
        *,
        settings: YolactSettings,
        matcher: YolactMatcher,
        semantic: Callable[[Tensor], Tensor],
        maskiou_net: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.settings = settings
        self.matcher = matcher
        self.semantic = semantic
        self.maskiou_net = maskiou_net

    def __call__(
        self, outputs: YolactOutputs, anchors: Sequence[Tensor], targets: Sequence[BoxList]
    ) -> dict[str, Tensor]:
        """Scalars ``loss_cls``, ``loss_box``, ``loss_mask``, ``loss_segm``, ``loss_maskiou``.

        The last one of models that re-score alone. All but ``loss_segm``, which is a mean over the
        images, are sums divided by the number of positives; without any they are zeros that keep
        the graph.

        Args:
            outputs: predictions of the head.
            anchors: per level (Li, 4) centre x, y, width, height in parts of the image.
            targets: one BoxList an image with ``labels`` and, of objects, ``masks``.
        """
        # Masks are products of matrices, which autocast would compute in half precision.
        with torch.autocast(outputs.prototypes.device.type, enabled=False):
            return self._losses(outputs, anchors, targets)

    def _losses(
        self, outputs: YolactOutputs, anchors: Sequence[Tensor], targets: Sequence[BoxList]
    ) -> dict[str, Tensor]:
        settings, device = self.settings, outputs.prototypes.device
        all_anchors = torch.cat(list(anchors))
        truth = [YolactTarget.of(target, device) for target in targets]
        matches = [
            self.matcher(all_anchors, each.boxes, each.labels, each.crowds) for each in truth
        ]
        num_prototypes = outputs.prototypes.shape[1]
        width = outputs.coefficients[0].shape[1] // num_prototypes
        logits = flatten_levels(outputs.logits, outputs.logits[0].shape[1] // width)
        codes = flatten_levels(outputs.codes, 4)
        coefficients = flatten_levels(outputs.coefficients, num_prototypes)
        num_positives = sum(int((each.labels > 0).sum()) for each in matches)
        divisor = max(num_positives, 1)
        losses = {
            "loss_cls": self._class_loss(logits, matches) / divisor,
            "loss_box": self._box_loss(codes, all_anchors, matches, truth) / divisor,
            "loss_segm": self._segmentation_loss(outputs.finest, truth),
        }
        masks = [
            self._mask_losses(*each)
            for each in zip(outputs.prototypes, coefficients, matches, truth, strict=True)
        ]
        graph = (outputs.prototypes.sum() + coefficients.sum()) * 0
        mask_loss = torch.stack([one.mask for one in masks] or [graph]).sum() + graph
        losses["loss_mask"] = mask_loss / divisor * settings.mask_weight
        if self.maskiou_net is not None:
            maskiou = self._maskiou_loss(self.maskiou_net, outputs.prototypes, masks)
            losses["loss_maskiou"] = maskiou * settings.maskiou_weight / divisor
        return losses

    def _class_loss(self, logits: Tensor, matches: Sequence[Matches]) -> Tensor:
        none = torch.zeros((0, logits.shape[1]), dtype=torch.int64, device=logits.device)
        labels = cat_images([each.labels[None] for each in matches], none)
        chosen = select_hard(logits.detach(), labels, self.settings.negatives_per_positive)
        return F.cross_entropy(logits[chosen], labels[chosen], reduction="sum")

    def _box_loss(
        self,
        codes: Tensor,
        anchors: Tensor,
        matches: Sequence[Matches],
        truth: Sequence[YolactTarget],
    ) -> Tensor:
        loss = codes.sum() * 0
        for image_codes, match, target in zip(codes, matches, truth, strict=True):
            (positive,) = (match.labels > 0).nonzero(as_tuple=True)
            expected = encode_boxes(target.boxes[match.objects[positive]], anchors[positive])
            loss = loss + smooth_l1_loss(
                image_codes[positive], expected, beta=1.0, size_average=False
            )
        return loss * self.settings.box_weight

    def _segmentation_loss(self, finest: Tensor, truth: Sequence[YolactTarget]) -> Tensor:
        logits: Tensor = self.semantic(finest).float()
        expected = cat_images(
            [_semantic_truth(each, logits[0])[None] for each in truth], logits.detach()[:0]
        )
        loss = F.binary_cross_entropy_with_logits(logits, expected, reduction="sum")
        cells = max(logits.shape[2] * logits.shape[3], 1)
        return loss * self.settings.segm_weight / (cells * max(len(logits), 1))

    def _mask_losses(
        self, prototypes: Tensor, coefficients: Tensor, match: Matches, target: YolactTarget
    ) -> "_MaskLosses":
        """What the masks of one image give."""
        (positive,) = (match.labels > 0).nonzero(as_tuple=True)
        num_positives, limit = len(positive), self.settings.masks_to_train
        if num_positives > limit:
            positive = positive[torch.randperm(num_positives, device=positive.device)[:limit]]
        objects = match.objects[positive]
        boxes = target.boxes[objects]
        masks = mix_prototypes(prototypes, coefficients[positive], boxes)
        expected = _resized(target.masks, masks.shape[-2:])[objects]
        # UPSTREAM(uncropped-truth): an object's pixels outside of its box count, each with -log(0),
        # which is cut off at 100. Weights are one by the area of the box, not of the mask.
        entropy = F.binary_cross_entropy(masks, expected, reduction="none").sum(dim=(1, 2))
        cells = masks.new_tensor([masks.shape[2], masks.shape[1]])
        areas = ((boxes[:, 2:] - boxes[:, :2]) * cells).prod(dim=1)
        share = num_positives / max(len(positive), 1)
        loss = (entropy / areas).sum() * share
        return _MaskLosses(loss, masks, expected, target.labels[objects])

    def _maskiou_loss(
        self,
        maskiou_net: Callable[[Tensor], Tensor],
        prototypes: Tensor,
        parts: Sequence["_MaskLosses"],
    ) -> Tensor:
        masks = cat_images([part.masks for part in parts], prototypes[:0, 0])
        expected = cat_images([part.expected for part in parts], masks[:0])
        labels = cat_images([part.labels for part in parts], masks.new_zeros(0, dtype=torch.int64))
        is_used = expected.sum(dim=(1, 2)) > self.settings.min_maskiou_area
        masks, expected, labels = masks[is_used], expected[is_used], labels[is_used]
        predicted = maskiou_net(masks).float()
        chosen = predicted.gather(1, labels[:, None] - 1).squeeze(1)
        binary = (masks.detach() > _MASK_THRESHOLD).float()
        shared = (binary * expected).sum(dim=(1, 2))
        union = (binary + expected).sum(dim=(1, 2)) - shared
        loss = smooth_l1_loss(chosen, shared / union, beta=1.0, size_average=False)
        return loss + predicted.sum() * 0


class _MaskLosses(NamedTuple):
    """Of one image: the summed mask loss, masks (T, h, w), true ones, and their classes (T,)."""

    mask: Tensor
    masks: Tensor
    expected: Tensor
    labels: Tensor


def select_hard(logits: Tensor, labels: Tensor, negatives_per_positive: int) -> Tensor:
    """(N, L) bool: positives, and of each image's background what is least taken for it.

    Args:
        logits: (N, L, C + 1), background first.
        labels: (N, L) class, BACKGROUND or NEUTRAL.
        negatives_per_positive: background anchors for each positive of an image.
    """
    is_positive, is_background = labels > 0, labels == BACKGROUND
    # UPSTREAM(hard-negatives): there one maximum over the batch is subtracted before the
    # exponential, which is 0 for all logits much below it.
    losses = logits.logsumexp(dim=2) - logits[..., 0]
    losses = torch.where(is_background, losses, -1)
    ranks = losses.argsort(dim=1, descending=True).argsort(dim=1)
    limit = negatives_per_positive * is_positive.sum(dim=1, keepdim=True)
    return is_positive | (is_background & (ranks < limit))


def _semantic_truth(target: YolactTarget, logits: Tensor) -> Tensor:
    """(C, H0, W0) where objects of each class lie, for logits of this shape."""
    truth = torch.zeros_like(logits)
    masks = _resized(target.masks, logits.shape[-2:])
    for label, mask in zip(target.labels.tolist(), masks, strict=True):
        truth[label - 1] = torch.maximum(truth[label - 1], mask)
    return truth


def _resized(masks: Tensor, size_hw: Sequence[int]) -> Tensor:
    """(G, h, w) 0 or 1 floats of masks (G, H, W), bilinear, above one half."""
    if len(masks) == 0:
        return masks.new_zeros((0, *size_hw))
    smooth = F.interpolate(
        masks[:, None], size=tuple(size_hw), mode="bilinear", align_corners=False
    )
    return (smooth[:, 0] > _MASK_THRESHOLD).float()
