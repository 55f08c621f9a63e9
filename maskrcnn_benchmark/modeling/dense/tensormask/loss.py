"""Losses of TensorMask (arXiv 1903.12174, section 5).

Shapes: N images, A window sizes of a cell, C foreground classes, L windows over all levels, P of
them that learn an object, S side of a mask, Hi x Wi cells of level i.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.tensormask.head import TensorMaskOutputs
from maskrcnn_benchmark.modeling.dense.tensormask.matching import WindowMatcher
from maskrcnn_benchmark.modeling.dense.tensormask.places import Places, cells_hw, locate
from maskrcnn_benchmark.modeling.dense.tensormask.windows import WindowReader
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.mask_targets import crop_and_rasterize_precisely


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Weights of the losses; see ``TensorMaskSettings``.

    Args:
        gamma, alpha: of the class loss.
        mask_weight: factor of the mask loss.
        positive_weight: factor of an object's own pixels in it.
    """

    gamma: float
    alpha: float
    mask_weight: float
    positive_weight: float


class Positives(NamedTuple):
    """The P windows of a batch that learn an object, image by image.

    Attributes:
        images: (P,).
        places: of the windows.
        anchors: (P, 4) the windows.
        labels: (P,) classes from 1.
        objects: (P,) which object of its image each learns.
        boxes: (P, 4) its box.
    """

    images: Tensor
    places: Places
    anchors: Tensor
    labels: Tensor
    objects: Tensor
    boxes: Tensor

    def chosen(self, inds: Tensor) -> "Positives":
        """Those of some numbers (K,)."""
        places = Places(*(each[inds] for each in self.places))
        images, _, *others = self
        return Positives(images[inds], places, *(each[inds] for each in others))


def focal_star_loss(negatives: Tensor, gamma: float) -> Tensor:
    """-log(sigmoid(-gamma x)) / gamma of logits x, of any shape, that should be low.

    Source: Focal Loss for Dense Object Detection (Lin et al. 2017), appendix A.
    """
    return F.softplus(gamma * negatives) / gamma


class TensorMaskLoss:
    """The losses of a batch.

    Args:
        settings: their weights.
        matcher: gives the windows their objects.
        coder: boxes relative to windows.
        reader: masks of windows.
    """

    def __init__(
        self,
        *,
        settings: LossSettings,
        matcher: WindowMatcher,
        coder: BoxCoder,
        reader: WindowReader,
    ) -> None:
        self.settings = settings
        self.matcher = matcher
        self.coder = coder
        self.reader = reader

    def __call__(
        self, outputs: TensorMaskOutputs, anchors: Sequence[Tensor], targets: Sequence[BoxList]
    ) -> dict[str, Tensor]:
        """Scalars ``loss_cls``, ``loss_box_reg`` and ``loss_mask``.

        All are sums divided by the number of positives of this process, at least 1.

        Args:
            outputs: predictions of the head.
            anchors: per level (Li, 4) windows.
            targets: one BoxList an image with ``labels`` and, of objects, ``masks``.
        """
        positives = self.find_positives(outputs, anchors, targets)
        divisor = max(len(positives.images), 1)
        losses = {
            "loss_cls": self._class_loss(outputs, positives),
            "loss_box_reg": self._box_loss(outputs, positives),
            "loss_mask": self._mask_loss(outputs, positives, targets),
        }
        return {name: loss / divisor for name, loss in losses.items()}

    def find_positives(
        self, outputs: TensorMaskOutputs, anchors: Sequence[Tensor], targets: Sequence[BoxList]
    ) -> Positives:
        """The windows that learn an object; arguments are those of a call."""
        maps_hw, all_anchors = cells_hw(outputs.logits), torch.cat(list(anchors))
        parts = [[all_anchors.new_zeros(0, dtype=torch.int64)] * 4 + [all_anchors[:0]]]
        for image, target in enumerate(targets):
            boxes = target.with_pixel_offset(0).convert("xyxy").bbox
            windows, objects = self.matcher(anchors, maps_hw, boxes)
            images = torch.full_like(windows, image)
            parts.append([images, windows, objects, target.labels[objects], boxes[objects]])
        columns = zip(*parts, strict=True)
        images, windows, objects, labels, boxes = (torch.cat(each) for each in columns)
        places = locate(windows, maps_hw, self.reader.num_sizes)
        return Positives(images, places, all_anchors[windows], labels, objects, boxes)

    def _class_loss(self, outputs: TensorMaskOutputs, positives: Positives) -> Tensor:
        gamma, alpha = self.settings.gamma, self.settings.alpha
        # As if all were negative, and then the few others.
        sums = [focal_star_loss(level, gamma).sum() for level in outputs.logits]
        num_foreground = outputs.logits[0].shape[1] // self.reader.num_sizes
        classes = positives.labels[:, None] - 1
        chosen = _at_places(outputs.logits, positives, num_foreground).gather(1, classes)
        above, below = (focal_star_loss(x, gamma).sum() for x in (chosen, -chosen))
        return (1 - alpha) * (torch.stack(sums).sum() - above) + alpha * below

    def _box_loss(self, outputs: TensorMaskOutputs, positives: Positives) -> Tensor:
        codes = _at_places(outputs.deltas, positives, 4)
        expected = self.coder.encode(positives.boxes, positives.anchors)
        return (codes - expected.to(codes)).abs().sum()

    def _mask_loss(
        self, outputs: TensorMaskOutputs, positives: Positives, targets: Sequence[BoxList]
    ) -> Tensor:
        # Layers and levels without a positive, too, have a gradient.
        unused = (*outputs.mask_maps, *outputs.filters, *outputs.biases)
        sums = [each.sum() * 0 for each in unused]
        for inds, logits in self.reader.read(outputs, positives.images, positives.places):
            part = positives.chosen(inds)
            expected = mask_targets(part, targets, logits.shape[-1]).to(logits)
            sums.append(mask_loss(logits, expected, self.settings.positive_weight))
        return self.settings.mask_weight * torch.stack(sums).sum()


def mask_loss(logits: Tensor, expected: Tensor, positive_weight: float) -> Tensor:
    """Sum over masks (P, S, S) of the mean binary cross-entropy of their pixels.

    Args:
        logits: of the masks.
        expected: their truth, 0 or 1 as floats.
        positive_weight: of pixels that are 1, beside 1 for the others.
    """
    weight = logits.new_tensor(positive_weight)
    entropy = F.binary_cross_entropy_with_logits(
        logits, expected, pos_weight=weight, reduction="sum"
    )
    return entropy / logits[0].numel()


def mask_targets(positives: Positives, targets: Sequence[BoxList], side: int) -> Tensor:
    """(P, S, S) bool: each object as it lies in its window, cut by it.

    Args:
        positives: P windows of one level and size.
        targets: with the field ``masks``, where there are objects.
        side: S.
    """
    boxes = positives.anchors.cpu()
    parts = [torch.zeros((0, side, side), dtype=torch.bool)]
    for image in torch.unique(positives.images).tolist():
        (inds,) = (positives.images == image).cpu().nonzero(as_tuple=True)
        masks = targets[image].get_field("masks")[positives.objects.cpu()[inds]]
        parts.append(crop_and_rasterize_precisely(masks, boxes[inds], side))
    return torch.cat(parts).to(positives.anchors.device)


def _at_places(maps: Sequence[Tensor], positives: Positives, width: int) -> Tensor:
    """(P, width) what maps (N, A * width, Hi, Wi) say of the windows."""
    found = [one.sum() * 0 for one in maps]
    values = maps[0].new_zeros(len(positives.images), width) + torch.stack(found).sum()
    places = positives.places
    for level, one in enumerate(maps):
        (inds,) = (places.levels == level).nonzero(as_tuple=True)
        by_size = one.view(len(one), one.shape[1] // width, width, *one.shape[2:])
        rows, columns, sizes = (each[inds] for each in places[1:])
        chosen = by_size[positives.images[inds], sizes, :, rows, columns]
        values = values.index_put((inds,), chosen)
    return values
