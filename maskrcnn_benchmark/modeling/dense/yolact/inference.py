"""From the predictions of YOLACT to detections (arXiv 1904.02689, sections 3.2 to 3.4).

Shapes: N images, L anchors over all levels, C foreground classes, K candidates, D detections.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.dense.levels import flatten_level, flatten_levels
from maskrcnn_benchmark.modeling.dense.yolact.anchors import decode_boxes
from maskrcnn_benchmark.modeling.dense.yolact.coefficients import (
    ReadCoefficients,
    YolactMaps,
    read_computed,
)
from maskrcnn_benchmark.modeling.dense.yolact.detections import WholePixelBoxes
from maskrcnn_benchmark.modeling.dense.yolact.head import MaskIoUNet, YolactOutputs
from maskrcnn_benchmark.modeling.dense.yolact.nms import Nms, NmsSettings
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.prototype_masks import PrototypeMasks


class YolactSelection(nn.Module):
    """The best boxes of every image, with masks.

    Args:
        settings: limits.
        nms: which candidates are detections.
        maskiou_net: scores masks; None: they are not re-scored.
        read: gives the coefficients of some anchors, from what the head predicts.
    """

    def __init__(
        self,
        *,
        settings: NmsSettings,
        nms: Nms,
        maskiou_net: MaskIoUNet | None,
        read: ReadCoefficients = read_computed,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.nms = nms
        self.maskiou_net = maskiou_net
        self.read = read

    @torch.no_grad()
    def forward(
        self,
        outputs: YolactOutputs | YolactMaps,
        points: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        """``WholePixelBoxes`` an image with ``labels``, ``scores``, ``mask``; best first.

        Of models that re-score, with ``mask_scores``, too.

        Args:
            outputs: predictions of the head.
            points: per level (Li, 4) anchors.
            image_sizes: (height, width) of the images.
        """
        anchors = torch.cat(list(points))
        num_anchors = outputs.codes[0].shape[1] // 4
        probs = _probabilities(outputs.logits, outputs.logits[0].shape[1] // num_anchors)
        codes = flatten_levels(outputs.codes, 4)
        readers = [partial(self.read, outputs, image) for image in range(len(image_sizes))]
        return [
            self._select(*each, anchors)
            for each in zip(probs, codes, readers, outputs.prototypes, image_sizes, strict=True)
        ]

    def _select(
        self,
        probs: Tensor,
        codes: Tensor,
        read: Callable[[Tensor], Tensor],
        prototypes: Tensor,
        image_hw: tuple[int, int],
        anchors: Tensor,
    ) -> BoxList:
        probs = probs[:, 1:]
        (inds,) = (probs.amax(dim=1) > self.settings.score_threshold).nonzero(as_tuple=True)
        boxes = decode_boxes(codes[inds], anchors[inds])
        size = (image_hw[1], image_hw[0])
        # UPSTREAM(no-second-threshold): of a candidate every class counts, however improbable.
        chosen = self.nms(boxes, probs[inds], size, self.settings)
        relative = boxes[chosen.candidates]
        masks = PrototypeMasks(prototypes, read(inds[chosen.candidates]), relative, size)
        found = WholePixelBoxes.of(relative, size)
        found.add_field("labels", chosen.labels)
        found.add_field("scores", chosen.scores)
        found.add_field("mask", masks)
        if self.maskiou_net is not None:
            ious = self.maskiou_net(masks.probabilities()).float()
            ious = ious.gather(1, chosen.labels[:, None] - 1).squeeze(1)
            found.add_field("mask_scores", chosen.scores * ious)
        return found


def _probabilities(logits: Sequence[Tensor], num_classes: int) -> Tensor:
    """(N, L, C + 1) softmax over the classes of maps (N, A * (C + 1), Hi, Wi) of every level."""
    levels = [flatten_level(level, num_classes) for level in logits]
    sizes = [level.shape[1] for level in levels]
    probs = levels[0].new_empty(len(levels[0]), sum(sizes), num_classes)
    # Each where it belongs: logits of all levels are never put together.
    for level, part in zip(levels, torch.split(probs, sizes, dim=1), strict=True):
        torch.softmax(level, dim=2, out=part)
    return probs
