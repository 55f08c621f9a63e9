"""What the mask branch learns: some objects of every photo, and their masks.

Shapes: S samples of a photo, R of all photos; M side of coarse masks (32), 4M of fine ones.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.dense.shapemask.branch import MaskOutputs
from maskrcnn_benchmark.modeling.dense.shapemask.regions import SIDE, jittered_boxes, outer_boxes
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.photo_masks import PhotoMasks

_FINE_SIDE: Final = 4 * SIDE
_EPS: Final = 1e-20


class MaskSamples(NamedTuple):
    """Objects to learn the masks of; of a photo with few, the last ones are no objects.

    Attributes:
        boxes: (S, 4) xyxy px of the canvas.
        outer: (S, 4) where the masks lie.
        labels: (S,) classes; 0 of those that are none.
        weights: (S,) 0 or 1: whether a sample is learnt.
        coarse: (S, M, M) 0 or 1.
        fine: (S, 4M, 4M) 0 or 1.
    """

    boxes: Tensor
    outer: Tensor
    labels: Tensor
    weights: Tensor
    coarse: Tensor
    fine: Tensor


class MaskSampler:
    """Draws the objects whose masks are trained on.

    Args:
        settings: how many, how enlarged and how noisy.
        trained_labels: classes whose masks are learnt; None: all.
        order: number of objects -> in which order they are taken.
        noise: (S, 4) -> normally distributed numbers of this shape.
    """

    def __init__(
        self,
        *,
        settings: ShapeMaskSettings,
        trained_labels: frozenset[int] | None = None,
        order: Callable[[int], Tensor] = torch.randperm,
        noise: Callable[[int, int], Tensor] = torch.randn,
    ) -> None:
        self.settings = settings
        self.trained_labels = trained_labels
        self.order = order
        self.noise = noise

    @torch.no_grad()
    def __call__(self, target: BoxList, canvas_hw: tuple[int, int]) -> MaskSamples:
        """Those of one photo, ``num_sampled`` in number.

        Args:
            target: with ``labels`` and ``masks``; without objects it may lack them.
            canvas_hw: height and width of the canvas, px.
        """
        # UPSTREAM(empty-samples): where there are fewer objects, boxes and masks of nothing fill
        # up; they are learnt as masks of the background, and norms see them.
        limit = self.settings.num_sampled
        chosen = self.order(len(target))[:limit].to(target.bbox.device)
        few = target[chosen]
        boxes = few.with_pixel_offset(0).convert("xyxy").bbox
        noise = self.noise(len(boxes), 4).to(boxes) * self.settings.jitter
        boxes = _filled_up(jittered_boxes(boxes, noise, canvas_hw), limit)
        outer = outer_boxes(boxes, self.settings.outer_scale, canvas_hw)
        labels = _filled_up(few.labels, limit)
        coarse, fine = (
            _filled_up(_read(few, outer[: len(few)], side), limit) for side in (SIDE, _FINE_SIDE)
        )
        weights = self._weights(labels, len(target) > 0)
        return MaskSamples(boxes, outer, labels, weights, coarse, fine)

    def _weights(self, labels: Tensor, has_objects: bool) -> Tensor:
        weights = torch.full(labels.shape, float(has_objects), device=labels.device)
        if self.trained_labels is not None:
            trained = labels.new_tensor(sorted(self.trained_labels))
            weights *= torch.isin(labels, trained)
        return weights


def _filled_up(values: Tensor, length: int) -> Tensor:
    """The values (n, ...) and zeros behind them, ``length`` in all."""
    return torch.cat([values, values.new_zeros(length - len(values), *values.shape[1:])])


def _read(target: BoxList, outer: Tensor, side: int) -> Tensor:
    """(n, side, side) masks of the objects (n) of a target in their outer boxes (n, 4)."""
    if len(target) == 0:
        return outer.new_zeros(0, side, side)
    return PhotoMasks.of(target.get_field("masks")).read(outer, side).to(outer.dtype)


def join_samples(samples: Sequence[MaskSamples], device: torch.device) -> MaskSamples:
    """Those of all photos (R, ...), of which there may be none; on ``device``."""
    boxes = torch.zeros(0, 4, device=device)
    sides = (SIDE, _FINE_SIDE)
    masks = (boxes.new_zeros(0, side, side) for side in sides)
    none = MaskSamples(boxes, boxes, boxes[:, 0].long(), boxes[:, 0], *masks)
    return MaskSamples(*(torch.cat(parts) for parts in zip(none, *samples, strict=True)))


def mask_losses(
    outputs: MaskOutputs, samples: MaskSamples, settings: ShapeMaskSettings
) -> dict[str, Tensor]:
    """Scalars ``loss_prior``, ``loss_coarse`` and ``loss_fine`` of a batch, times their weights.

    Args:
        outputs: of the samples (R).
        samples: of all photos.
        settings: the weights.
    """
    weights = samples.weights[:, None, None]
    losses = {
        "loss_prior": (outputs.priors - samples.coarse) ** 2 / 2,
        "loss_coarse": _entropy(outputs.coarse, samples.coarse),
        "loss_fine": _entropy(outputs.fine, samples.fine),
    }
    targets = {"loss_fine": samples.fine}
    factors = {
        "loss_prior": settings.prior_weight,
        "loss_coarse": settings.coarse_weight,
        "loss_fine": settings.fine_weight,
    }
    # UPSTREAM(foreground-count): divided by the pixels of objects, of those that weigh 0, too.
    return {
        name: factors[name]
        * (weights * loss).sum()
        / (targets.get(name, samples.coarse).sum() + _EPS)
        for name, loss in losses.items()
    }


def _entropy(logits: Tensor, expected: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, expected, reduction="none")
