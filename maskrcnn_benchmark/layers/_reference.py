"""Plain PyTorch twin of every operator: the oracle of the tests and the fallback on any device.

Shape symbols: K boxes, R rois, N images, C channels or classes, H x W feature map, P x Q pooled
size, L locations. Signatures follow the operator schemas of `_ops.py` argument by argument.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.structures.pixel import LEGACY_PIXEL_OFFSET

# Rows of the K x K overlap matrix made at a time: bounds the float temporaries at large K.
_IOU_ROWS = 1024

# Rois pooled at a time: bounds the maps of which one axis only is pooled.
_ROIS = 8

# More samples a bin can only come from corners that are no coordinates.
_MOST_SAMPLES = 2.0**20


def _inclusive_areas(boxes: Tensor) -> Tensor:
    sides = boxes[:, 2:] - boxes[:, :2] + LEGACY_PIXEL_OFFSET
    return sides[:, 0] * sides[:, 1]


def _pairwise_iou(rows: Tensor, columns: Tensor) -> Tensor:
    top_left = torch.maximum(rows[:, None, :2], columns[None, :, :2])
    bottom_right = torch.minimum(rows[:, None, 2:], columns[None, :, 2:])
    sides = (bottom_right - top_left + LEGACY_PIXEL_OFFSET).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = _inclusive_areas(rows)[:, None] + _inclusive_areas(columns)[None, :] - intersection
    return intersection / union


def nms_keep(boxes: Tensor, labels: Tensor | None, threshold: float) -> Tensor:
    """Mask (K,) bool of the boxes that greedy suppression keeps.

    The greedy result is the only fixed point of "a box stays unless a kept earlier box suppresses
    it"; t rounds settle at least the first t boxes, and a handful of rounds is typical.

    Args:
        boxes: (K, 4) xyxy inclusive px, best score first.
        labels: (K,) integers, only equal labels suppress each other; None: all boxes compete.
        threshold: a box goes when its IoU with a kept earlier box exceeds this.
    """
    chunks = [_pairwise_iou(rows, boxes) > threshold for rows in torch.split(boxes, _IOU_ROWS)]
    suppresses = torch.cat(chunks).triu(diagonal=1)
    if labels is not None:
        suppresses &= labels[:, None] == labels[None, :]
    keep = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    while True:
        updated = ~(suppresses & keep[:, None]).any(dim=0)
        if torch.equal(updated, keep):
            return keep
        keep = updated


def _first_refused(accepted: Tensor) -> int | None:
    """Row of the first value not accepted; looked for on the CPU only (elsewhere it would sync)."""
    if accepted.device.type != "cpu" or bool(accepted.all()):
        return None
    return int(accepted.int().argmin())


def _check_images(rois: Tensor, num_images: int) -> None:
    images = rois[:, 0]
    row = _first_refused((images >= 0) & (images < num_images))
    if row is not None:
        wanted = f"image indices in [0, {num_images})"
        raise ValueError(f"rois: expected {wanted}, got {images[row].item()} in row {row}")


def _axis_weights(
    start: Tensor, end: Tensor, num_bins: int, length: int, sampling_ratio: int
) -> Tensor:
    """Weight (R, num_bins, length) of each pixel of one axis in each bin of each roi.

    Bilinear sampling on a regular grid is separable: the pooled map is
    (rows' weights) x (feature map) x (columns' weights) transposed.
    """
    extent = (end - start).clamp(min=1.0)
    bin_size = extent / num_bins
    if sampling_ratio > 0:
        samples_per_bin = torch.full_like(extent, sampling_ratio)
    else:
        sane = bin_size <= _MOST_SAMPLES
        samples_per_bin = torch.where(sane, bin_size.ceil(), 1.0)
    max_samples = int(samples_per_bin.max()) if len(start) else 0
    bins = torch.arange(num_bins, device=start.device)[None, :, None]
    samples = torch.arange(max_samples, device=start.device)[None, None, :]
    per_bin, size = samples_per_bin[:, None, None], bin_size[:, None, None]
    coordinate = start[:, None, None] + bins * size + (samples + 0.5) * size / per_bin
    # Up to one pixel outside the map the border value counts, farther out nothing does.
    inside = (coordinate >= -1.0) & (coordinate <= length) & (samples < per_bin)
    coordinate = torch.where(inside, coordinate, 0.0).clamp(0.0, length - 1.0)
    low = coordinate.floor()
    upper_weight = torch.where(inside, coordinate - low, 0.0) / per_bin
    lower_weight = torch.where(inside, 1.0 - (coordinate - low), 0.0) / per_bin
    low_inds = low.long()
    weights = coordinate.new_zeros(len(start), num_bins, length)
    weights.scatter_add_(2, low_inds, lower_weight)
    return weights.scatter_add_(2, (low_inds + 1).clamp(max=length - 1), upper_weight)


def _roi_weights(
    rois: Tensor, spatial_scale: float, pooled_hw: tuple[int, int], map_hw: tuple[int, int], s: int
) -> tuple[Tensor, Tensor]:
    x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale).unbind(dim=1)
    rows = _axis_weights(y1, y2, pooled_hw[0], map_hw[0], s)
    return rows, _axis_weights(x1, x2, pooled_hw[1], map_hw[1], s)


def _chunks_by_image(rois: Tensor, num_images: int) -> Iterator[tuple[int, Tensor]]:
    for image in range(num_images):
        members = (rois[:, 0] == image).nonzero().squeeze(1)
        for chunk in torch.split(members, _ROIS):
            if len(chunk):
                yield image, chunk


def roi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
) -> Tensor:
    """Pooled features (R, C, P, Q); arguments as in `layers.roi_align`."""
    num_images, num_channels, height, width = input.shape
    _check_images(rois, num_images)
    pooled_hw = (pooled_height, pooled_width)
    rows, columns = _roi_weights(rois, spatial_scale, pooled_hw, (height, width), sampling_ratio)
    output = input.new_zeros(len(rois), num_channels, *pooled_hw)
    for image, members in _chunks_by_image(rois, num_images):
        partial = torch.einsum("rph,chw->rcpw", rows[members], input[image])
        output[members] = torch.einsum("rcpw,rqw->rcpq", partial, columns[members])
    return output


def roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
) -> Tensor:
    """Gradient (N, C, H, W) of `roi_align` with respect to its input."""
    _check_images(rois, batch_size)
    pooled_hw = (grad.shape[2], grad.shape[3])
    rows, columns = _roi_weights(rois, spatial_scale, pooled_hw, (height, width), sampling_ratio)
    output = grad.new_zeros(batch_size, channels, height, width)
    for image, members in _chunks_by_image(rois, batch_size):
        partial = torch.einsum("rcpq,rqw->rcpw", grad[members], columns[members])
        output[image] += torch.einsum("rcpw,rph->chw", partial, rows[members])
    return output


def _signs_and_weights(logits: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Sign +1 / -1 of positive / negative entries and their alpha weight, 0 where ignored."""
    num_classes = logits.shape[1]
    row = _first_refused((targets >= -1) & (targets <= num_classes))
    if row is not None:
        wanted = f"classes in [-1, {num_classes}]"
        raise ValueError(f"targets: expected {wanted}, got {targets[row].item()}")
    columns = torch.arange(1, num_classes + 1, device=logits.device)
    positive = targets[:, None] == columns
    weights = torch.where(positive, alpha, 1.0 - alpha).to(logits.dtype)
    weights = weights * (targets >= 0)[:, None]
    return torch.where(positive, 1.0, -1.0).to(logits.dtype), weights


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, gamma: float, alpha: float) -> Tensor:
    """Loss (L, C) of every location and class.

    With z = +-x (plus at the target class), p_t = sigmoid(z) and 1 - p_t = sigmoid(-z); in
    logarithms nothing overflows: loss = -alpha_t exp(gamma log(1 - p_t)) log(p_t).
    """
    signs, weights = _signs_and_weights(logits, targets, alpha)
    z = signs * logits
    loss = -weights * torch.exp(gamma * F.logsigmoid(-z)) * F.logsigmoid(z)
    return torch.where(weights > 0, loss, 0.0)


def sigmoid_focal_loss_backward(
    grad: Tensor, logits: Tensor, targets: Tensor, gamma: float, alpha: float
) -> Tensor:
    """Gradient (L, C) of `sigmoid_focal_loss` with respect to the logits."""
    signs, weights = _signs_and_weights(logits, targets, alpha)
    z = signs * logits
    slope = torch.sigmoid(-z) - gamma * torch.sigmoid(z) * F.logsigmoid(z)
    derivative = -signs * weights * torch.exp(gamma * F.logsigmoid(-z)) * slope
    return grad * torch.where(weights > 0, derivative, 0.0)
