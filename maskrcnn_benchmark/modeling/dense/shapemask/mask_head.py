"""The head that gives ShapeMask's detections their masks.

Shapes: R boxes of all images, F channels of the branch, C classes with background, K priors of a
class, M side of crops, priors and coarse masks (32).
"""

from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.coco_ids import COCO_IDS, VOC_COCO_IDS
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import at_least_float32
from maskrcnn_benchmark.modeling.dense.shapemask.branch import CoarseMask, FineMask, MaskOutputs
from maskrcnn_benchmark.modeling.dense.shapemask.priors import make_priors, read_priors, small_mask
from maskrcnn_benchmark.modeling.dense.shapemask.regions import (
    SIDE,
    crop_features,
    masks_in_outer,
    outer_boxes,
)
from maskrcnn_benchmark.modeling.dense.shapemask.samples import (
    MaskSampler,
    join_samples,
    mask_losses,
)
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.modeling.make_layers import (
    BatchNormSettings,
    NormFactory,
    init_normal,
    init_xavier_uniform,
)
from maskrcnn_benchmark.modeling.roi_heads.head import RoiInputs, RoiOutput
from maskrcnn_benchmark.modeling.strides import Level
from maskrcnn_benchmark.structures.paste_rules import LEGACY_PASTE
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks
from maskrcnn_benchmark.structures.tight_outlines import Outline

_CLASSIFIER_STD: Final = 0.01


class ShapeMaskROIHead(nn.Module):
    """Masks of the boxes it gets; in training, of the objects that are to be found.

    Args:
        in_channels: channels of the maps.
        strides: px per cell of the maps, finest first.
        priors: (C, K, M, M); zeros are filled in by ``make_from``.
        settings: sizes, weights of the losses.
        norm: channels -> normalisation layer.
        sampler: draws what is trained on.
    """

    shape_priors: Tensor

    def __init__(
        self,
        *,
        in_channels: int,
        strides: Sequence[int],
        priors: Tensor,
        settings: ShapeMaskSettings,
        norm: NormFactory,
        sampler: MaskSampler,
    ) -> None:
        super().__init__()
        num_classes, num_priors = priors.shape[:2]
        num_outputs = 1 if settings.class_agnostic else num_classes
        channels = settings.mask_channels
        self.strides = tuple(strides)
        self.settings = settings
        self.sampler = sampler
        self.register_buffer("shape_priors", priors)
        self.reduce = nn.Linear(in_channels, channels)
        init_xavier_uniform(self.reduce)
        self.prior_classifier = nn.Linear(channels, num_outputs * num_priors)
        init_normal(self.prior_classifier, _CLASSIFIER_STD)
        self.coarse = CoarseMask(channels=channels, num_outputs=num_outputs, norm=norm)
        self.fine = FineMask(channels=channels, num_outputs=num_outputs, norm=norm)

    def forward(self, inputs: RoiInputs) -> RoiOutput:
        """Losses of the objects of ``targets``; else the boxes with ``mask``, in their order.

        A mask lies in a box of its own, larger than the detection's.
        """
        height, width = (self.strides[0] * cells for cells in inputs.features[0].shape[-2:])
        if inputs.targets is not None:
            return RoiOutput(inputs.boxes, self._losses(inputs, (height, width)))
        scale = self.settings.outer_scale
        corners = [boxes.convert("xyxy").bbox for boxes in inputs.boxes]
        outer = [outer_boxes(boxes, scale, (height, width)) for boxes in corners]
        none = self.shape_priors.new_zeros(0, 4)
        labels = torch.cat([none[:, 0].long(), *(boxes.labels for boxes in inputs.boxes)])
        boxes = torch.cat([none, *corners])
        predicted = self.predict(inputs.features, boxes, outer, labels)
        masks = torch.split(predicted.fine.sigmoid(), [len(boxes) for boxes in inputs.boxes])
        found = []
        for given, own, where in zip(inputs.boxes, masks, outer, strict=True):
            field = BoxMasks(own[:, None], where, given.size, LEGACY_PASTE)
            found.append(given.with_field("mask", field))
        return RoiOutput(found, {})

    def predict(
        self, features: Sequence[Tensor], boxes: Tensor, outer: Sequence[Tensor], labels: Tensor
    ) -> MaskOutputs:
        """The masks of boxes in their outer boxes.

        Args:
            features: maps (N, Fi, Hi, Wi), finest first.
            boxes: (R, 4) of all images in order, xyxy px of the canvas.
            outer: for each image (Ri, 4).
            labels: (R,).
        """
        crops = crop_features(features, outer, self.strides)
        reduced = at_least_float32(self.reduce(crops.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        where = torch.cat([boxes[:0], *outer])
        outputs = torch.zeros_like(labels) if self.settings.class_agnostic else labels
        priors = self._mixed_priors(reduced, boxes, where, labels, outputs)
        coarse = at_least_float32(self.coarse(reduced, priors, outputs))
        fine = at_least_float32(self.fine(reduced, coarse, outputs))
        return MaskOutputs(priors, coarse, fine)

    def _mixed_priors(
        self, reduced: Tensor, boxes: Tensor, outer: Tensor, labels: Tensor, outputs: Tensor
    ) -> Tensor:
        """(R, M, M) in the outer boxes."""
        number = len(boxes)
        everywhere = masks_in_outer(boxes.new_ones(number, SIDE, SIDE), boxes, outer)
        means = (reduced * everywhere[:, None]).mean(dim=(2, 3))
        num_priors = self.shape_priors.shape[1]
        logits = at_least_float32(self.prior_classifier(means)).view(
            number, self.prior_classifier.out_features // num_priors, num_priors
        )
        weights = torch.take_along_dim(logits, outputs[:, None, None], dim=1)[:, 0].softmax(dim=1)
        shapes = self.shape_priors[labels].flatten(2)
        mixed = torch.bmm(weights[:, None], shapes).view(number, SIDE, SIDE)
        return masks_in_outer(mixed, boxes, outer)

    def _losses(self, inputs: RoiInputs, canvas_hw: tuple[int, int]) -> dict[str, Tensor]:
        samples = [self.sampler(target, canvas_hw) for target in inputs.targets or ()]
        joined = join_samples(samples, inputs.features[0].device)
        outer = [each.outer for each in samples]
        outputs = self.predict(inputs.features, joined.boxes, outer, joined.labels)
        return mask_losses(outputs, joined, self.settings)

    @property
    def unmade_labels(self) -> tuple[int, ...]:
        """Classes whose priors are zeros."""
        is_empty = (self.shape_priors[1:] == 0).flatten(1).all(dim=1)
        return tuple(label for label, empty in enumerate(is_empty.tolist(), start=1) if empty)

    def make_from(self, outlines: Iterable[Outline], *, seed: int) -> str:
        """Fill in priors that are zeros; of classes without objects, with those of all objects.

        See ``MadeOfOutlines``.
        """
        empty = set(self.unmade_labels)
        # Small ones: those of a large data set are many.
        kept = [Outline(label, small_mask(mask)) for label, mask in outlines]
        num_classes, num_priors = self.shape_priors.shape[:2]

        def make(class_agnostic: bool) -> Tensor:
            return make_priors(
                kept,
                num_classes=num_classes,
                num_priors=num_priors,
                class_agnostic=class_agnostic,
                seed=seed,
            )

        own = make(class_agnostic=self.settings.class_agnostic)
        without = {label for label in empty if not bool(own[label].any())}
        of_all = make(class_agnostic=True) if without else own
        for label in empty:
            self.shape_priors[label] = (of_all if label in without else own)[label]
        if self.settings.class_agnostic:
            self.shape_priors[0] = own[0]
        text = f"{num_priors} shape priors for each of {len(empty)} classes, of {len(kept)} objects"
        if without:
            text += f"; {len(without)} classes without objects got those of all objects"
        return text


def build_shapemask_roi_head(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec, levels: Sequence[Level]
) -> ShapeMaskROIHead:
    """The head that MODEL.DENSE.SETTINGS describes.

    Raises:
        ConfigError: PRIORS_FILE or MASK_TRAIN_CLASS cannot be used.
    """
    settings: ShapeMaskSettings = spec.settings
    shape = (spec.num_classes, settings.num_priors)
    priors = (
        read_priors(settings.priors_file, *shape)
        if settings.priors_file
        else torch.zeros(*shape, SIDE, SIDE)
    )
    return ShapeMaskROIHead(
        in_channels=in_channels,
        strides=[level.stride for level in levels],
        priors=priors,
        settings=settings,
        norm=BatchNormSettings.from_config(cfg),
        sampler=MaskSampler(
            settings=settings,
            trained_labels=trained_labels(settings.mask_train_class, spec.num_classes),
        ),
    )


def trained_labels(name: str, num_classes: int) -> frozenset[int] | None:
    """The classes whose masks MASK_TRAIN_CLASS names; None: all.

    Raises:
        ConfigError: neither the 80 classes of COCO nor its 90 ids.
    """
    if name == "all":
        return None
    chosen = VOC_COCO_IDS if name == "voc" else frozenset(COCO_IDS) - VOC_COCO_IDS
    # UPSTREAM(ids-as-labels): there ids are compared with labels, which works for models with a
    # class for each number up to 90; here labels of the 80 classes are brought to ids, too.
    if num_classes == COCO_IDS[-1] + 1:
        return chosen
    if num_classes != len(COCO_IDS) + 1:
        raise ConfigError(
            f"MODEL.DENSE.SETTINGS.MASK_TRAIN_CLASS {name!r} names classes of COCO, so that "
            f"MODEL.NUM_CLASSES must be {len(COCO_IDS) + 1} or {COCO_IDS[-1] + 1}, got "
            f"{num_classes}"
        )
    return frozenset(label for label, i in enumerate(COCO_IDS, start=1) if i in chosen)
