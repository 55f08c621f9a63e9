"""Ground truth for anchors, shared by RPN and RetinaNet.

Shapes: N images, L anchors over all levels, G ground truths of one image, P chosen anchors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou


def match_anchors(
    anchors: Tensor, targets: Sequence[BoxList], matcher: Matcher, *, pairs_at_once: int = 2**22
) -> list[Tensor]:
    """For each image (L,) int64: index of each anchor's ground truth, or the matcher's codes.

    Args:
        anchors: (L, 4) xyxy.
        targets: ground truth of each image.
        matcher: IoUs (G, L) -> indices.
        pairs_at_once: IoUs that exist together at most, which bounds the memory that is needed.
    """
    return [_match(anchors, target, matcher, pairs_at_once) for target in targets]


def _match(anchors: Tensor, target: BoxList, matcher: Matcher, pairs_at_once: int) -> Tensor:
    parts = torch.split(anchors, max(1, pairs_at_once // max(1, len(target))))

    def qualities(part: Tensor) -> Tensor:
        return boxlist_iou(target, BoxList(part, target.size, pixel_offset=target.pixel_offset))

    if len(parts) == 1:
        return matcher(qualities(anchors))
    return matcher.match_parts(lambda: map(qualities, parts))


def encode_matched(
    coder: BoxCoder,
    anchors: Tensor,
    targets: Sequence[BoxList],
    matches: Sequence[Tensor],
    chosen: Sequence[Tensor],
) -> Tensor:
    """(P, 4) codes that lead from the chosen anchors of all images to their ground truths.

    Args:
        coder: encodes boxes relative to anchors.
        anchors: (L, 4) xyxy.
        targets: ground truth of each image.
        matches: for each image (L,), as ``match_anchors`` returns it.
        chosen: for each image (Pi,) indices of anchors that have a ground truth.
    """
    codes = [anchors.new_zeros(0, 4)]
    for target, match, anchor_inds in zip(targets, matches, chosen, strict=True):
        if len(anchor_inds) > 0:  # an image without ground truth has nothing to index
            truth = target.convert("xyxy").bbox[match[anchor_inds]]
            codes.append(coder.encode(truth, anchors[anchor_inds]))
    return torch.cat(codes)
