"""Targets and loss of the mask head (Mask R-CNN, arXiv 1703.06870, section 3).

Shapes: K proposals of one image, P proposals matched to a ground truth, M mask side.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.head import MaskTargets
from maskrcnn_benchmark.modeling.targets import batch_indices, cat_images
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.mask_targets import MIN_SIDE, crop_and_rasterize
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


class MaskTargetAssigner:
    """Matches proposals with ground truths and cuts the masks.

    Args:
        matcher: (G, K) IoUs -> index of each proposal's ground truth, negative without one.
        mask_side: M.
        min_crop_side: px, see ``crop_and_rasterize``.
        max_matches: of more matched proposals of an image so many are drawn; None takes all.
    """

    def __init__(
        self,
        *,
        matcher: Matcher,
        mask_side: int,
        min_crop_side: float = MIN_SIDE,
        max_matches: int | None = None,
    ) -> None:
        self.matcher = matcher
        self.mask_side = mask_side
        self.min_crop_side = min_crop_side
        self.max_matches = max_matches

    @torch.no_grad()
    def __call__(
        self,
        proposals: Sequence[BoxList],
        targets: Sequence[BoxList],
        device: torch.device | None = None,
    ) -> MaskTargets:
        """Targets of the proposals that match, or of ``max_matches`` of them.

        Args:
            proposals: one BoxList an image, px of the resized image.
            targets: one BoxList an image with the fields ``labels`` and ``masks``, which one
                without objects may lack.
            device: of the result where there are no images; None: the CPU.
        """
        matched, instances, labels, masks, is_matched = [], [], [], [], []
        for boxes, target in zip(proposals, targets, strict=True):
            matches = self.matcher(boxlist_iou(target, boxes))
            is_matched.append(self._chosen(matches))
            inds = torch.nonzero(is_matched[-1]).squeeze(1)
            truth_inds = matches[inds]
            matched.append(boxes.copy_with_fields([])[inds])
            labels.append(target.get_field("labels")[truth_inds].to(torch.int64))
            # A target without objects may lack the field.
            whole = target.get_field("masks") if len(target) else SegmentationMask([], target.size)
            instances.append(whole[truth_inds])
            crops = crop_and_rasterize(
                instances[-1], matched[-1].bbox, self.mask_side, min_side=self.min_crop_side
            )
            masks.append(crops.to(boxes.bbox))
        all_labels = cat_images(labels, torch.zeros(0, dtype=torch.int64, device=device))
        return MaskTargets(
            proposals=matched,
            instances=instances,
            labels=all_labels,
            masks=cat_images(masks, torch.zeros((0, *[self.mask_side] * 2), device=device)),
            indices=batch_indices(is_matched, all_labels.device),
        )

    def _chosen(self, matches: Tensor) -> Tensor:
        """(K,) bool: the proposals to learn from."""
        is_matched = matches >= 0
        limit = self.max_matches
        if limit is None or len(matches) <= limit:
            return is_matched
        inds = is_matched.nonzero().squeeze(1)
        drawn = inds[torch.randperm(len(inds), device=inds.device)[:limit]]
        return torch.zeros_like(is_matched).index_fill_(0, drawn, True)


def mask_loss(class_logits: Tensor, masks: Tensor) -> Tensor:
    """Mean binary cross entropy over all pixels; zero tied to the graph without rois.

    Args:
        class_logits: (P, M, M) logits of each roi's own class.
        masks: (P, M, M) targets, 0 or 1.
    """
    total = F.binary_cross_entropy_with_logits(class_logits, masks, reduction="sum")
    return total / max(class_logits.numel(), 1)
