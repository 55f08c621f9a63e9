"""The meta-architecture: backbone, proposal stage, heads."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.roi_heads.roi_heads import CombinedROIHeads
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list

PIXEL_STD: Final = 50.0
"""About the standard deviation of the pixels of photos, 0..255."""


class GeneralizedRCNN(nn.Module):
    """Wires the three stages; does no arithmetic and changes none of its arguments.

    Args:
        backbone: images (N, 3, H, W) -> maps, finest first.
        rpn: (images, maps, targets or None) -> boxes and losses, as in ``StageOutput``.
        roi_heads: (maps, boxes, targets or None) -> the same, or None.
        finish: what is done to the detections of each image in the end, or None.
        input_std: about the standard deviation of its normalised images; what tries the model
            out makes images of it.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        rpn: nn.Module,
        roi_heads: CombinedROIHeads | None,
        finish: Callable[[BoxList], BoxList] | None = None,
        input_std: float = PIXEL_STD,
    ) -> None:
        super().__init__()
        self.input_std = input_std
        self.backbone = backbone
        self.rpn = rpn
        if roi_heads is not None:
            self.roi_heads = roi_heads
        self.has_roi_heads = roi_heads is not None
        self.finish = finish

    def forward(
        self,
        images: ImageList | Tensor | Sequence[Tensor],
        targets: Sequence[BoxList] | None = None,
    ) -> dict[str, Tensor] | list[BoxList]:
        """Scalar losses by name in training; one BoxList an image in evaluation.

        Args:
            images: normalised images (3, H, W) or a batch of them.
            targets: one BoxList an image, px of the resized image, with the fields ``labels`` and,
                where the model has a mask head, ``masks``, a keypoint head, ``keypoints``; required
                in training. A target without objects may lack all of them.

        Raises:
            ValueError: if targets are missing in training, or not one an image.
        """
        truth = [_with_labels(target) for target in targets or ()] if self.training else None
        image_list = to_image_list(images)
        num_images = len(image_list.image_sizes)
        if truth is not None and (targets is None or len(truth) != num_images):
            got = "none" if targets is None else f"{len(truth)}"
            raise ValueError(
                f"targets: training needs one BoxList for each of the {num_images} images, "
                f"got {got}"
            )
        features = self.backbone(image_list.tensors)
        boxes: list[BoxList]
        losses: dict[str, Tensor]
        boxes, losses = self.rpn(image_list, features, truth)
        if self.has_roi_heads:
            boxes, head_losses = self.roi_heads(features, boxes, truth)
            losses = head_losses | losses
        if self.training:
            return losses
        return boxes if self.finish is None else list(map(self.finish, boxes))


def _with_labels(target: BoxList) -> BoxList:
    """The target; without objects it may lack them."""
    if len(target) > 0 or target.has_field("labels"):
        return target
    return target.with_field("labels", torch.zeros_like(target.bbox[:, 0], dtype=torch.int64))
