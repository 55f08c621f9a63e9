"""The meta-architecture: backbone, proposal stage, heads."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.roi_heads.roi_heads import CombinedROIHeads
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


class GeneralizedRCNN(nn.Module):
    """Wires the three stages; does no arithmetic and changes none of its arguments.

    Args:
        backbone: images (N, 3, H, W) -> maps, finest first.
        rpn: (images, maps, targets) -> ProposalOutput.
        roi_heads: (maps, proposals, targets) -> ROIHeadsOutput, or None.
    """

    def __init__(
        self, *, backbone: nn.Module, rpn: nn.Module, roi_heads: CombinedROIHeads | None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn
        if roi_heads is not None:
            self.roi_heads = roi_heads
        self.has_roi_heads = roi_heads is not None

    def forward(
        self,
        images: ImageList | Tensor | Sequence[Tensor],
        targets: Sequence[BoxList] | None = None,
    ) -> dict[str, Tensor] | list[BoxList]:
        """Scalar losses by name in training; one BoxList an image in evaluation.

        Args:
            images: normalised images (3, H, W) or a batch of them.
            targets: one BoxList an image, px of the resized image, with the fields `labels` and,
                where the model has a mask head, `masks`, a keypoint head, `keypoints`; required in
                training. A target without objects may lack all of them.

        Raises:
            ValueError: if targets are missing in training, or not one an image.
        """
        image_list = to_image_list(images)
        if self.training:
            return self._losses(image_list, self._check_targets(image_list, targets))
        features = self.backbone(image_list.tensors)
        detections: list[BoxList] = self.rpn(image_list, features).proposals
        if self.has_roi_heads:
            detections = self.roi_heads(features, detections).detections
        return detections

    def _losses(self, images: ImageList, targets: Sequence[BoxList]) -> dict[str, Tensor]:
        features = self.backbone(images.tensors)
        proposals, proposal_losses = self.rpn(images, features, targets)
        losses: dict[str, Tensor] = {}
        if self.has_roi_heads:
            losses.update(self.roi_heads(features, proposals, targets).losses)
        losses.update(proposal_losses)
        return losses

    @staticmethod
    def _check_targets(images: ImageList, targets: Sequence[BoxList] | None) -> Sequence[BoxList]:
        if targets is None or len(targets) != len(images.image_sizes):
            got = "none" if targets is None else f"{len(targets)}"
            raise ValueError(
                f"targets: training needs one BoxList for each of the {len(images.image_sizes)} "
                f"images, got {got}"
            )
        return [_with_empty_fields(target) for target in targets]


def _with_empty_fields(target: BoxList) -> BoxList:
    """The target; without objects it also has the fields that it may lack."""
    if len(target) > 0:
        return target
    result = target.copy_with_fields(target.fields())
    if not result.has_field("labels"):
        result.add_field("labels", torch.zeros(0, dtype=torch.int64, device=target.bbox.device))
    if not result.has_field("masks"):
        result.add_field("masks", SegmentationMask([], target.size))
    if not result.has_field("keypoints"):
        none = torch.zeros(0, len(PersonKeypoints.NAMES), 3, device=target.bbox.device)
        result.add_field("keypoints", PersonKeypoints(none, target.size))
    return result
