"""The parts of a model that are nothing but layers, which PyTorch itself writes as ONNX.

Shapes: R boxes, F channels, M side of a mask.
"""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.export.formats import OPSET
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.modeling.roi_heads.box_head.box_head import ROIBoxHead
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import ROIFeatureExtractor
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.keypoint_head import ROIKeypointHead
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.predictors import KeypointRCNNPredictor
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import ROIMaskHead
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.maskiou_head import ROIMaskIoUHead

if TYPE_CHECKING:
    import onnx

DENSE: Final = "dense"
BOX: Final = "box"
MASKS: Final = "masks"
KEYPOINTS: Final = "keypoints"
"""What names of their layers begin with in a whole graph, before a dot."""
PART_PREFIXES: Final = tuple(f"{name}." for name in (DENSE, BOX, MASKS, KEYPOINTS))
_Traced: TypeAlias = Any
"""A value of onnxscript."""
_NUM_EXAMPLES: Final = 3
"""Boxes that a part is traced with."""


class DensePart(nn.Module):
    """Backbone, pyramid and head of a model: images -> all feature maps, then all maps of the head.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: GeneralizedRCNN) -> None:
        super().__init__()
        stage: Any = model.rpn
        self.backbone = model.backbone
        self.head: nn.Module = stage.head
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps, one after the other."""
        features = self.backbone(images)
        fields = self.head(features)
        return (*features, *(each for maps in fields for each in maps))


_LAST_LAYERS: Final = ("cls_logits", "bbox_pred", "centerness")
"""Of heads, which predict what is ranked and decoded: 8 bits are too few for it."""


class _InFloat32(nn.Module):
    """A layer that computes in float32, whatever is around it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            found: Tensor = self.layer(maps.float())
        return found


def keep_last_layers(head: nn.Module) -> None:
    """Let the last convolutions of a dense head compute in float32, whatever is around it."""
    for name, layer in head.named_children():
        if name in _LAST_LAYERS:
            setattr(head, name, _InFloat32(layer))


class DensePartInBFloat16(nn.Module):
    """The dense part with all but the last convolutions in bfloat16; its maps are float32.

    Args:
        part: the same in float32.
    """

    def __init__(self, part: DensePart) -> None:
        super().__init__()
        self.part = copy.deepcopy(part)
        keep_last_layers(self.part.head)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps, one after the other."""
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            maps = self.part(images)
        return tuple(each.float() for each in maps)


class BoxPart(nn.Module):
    """The layers of the box head.

    Args:
        box: the box head.

    Raises:
        ConfigError: a part is a script's own, and cannot be called with what there is.
    """

    def __init__(self, box: ROIBoxHead) -> None:
        super().__init__()
        if not isinstance(box.feature_extractor, ROIFeatureExtractor):
            raise ConfigError("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR: cannot be exported")
        self.box = box
        self.eval()

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities (R, C) and offsets (R, 4 * B) of pooled maps (R, F, M, M)."""
        extractor = self.box.feature_extractor
        assert isinstance(extractor, ROIFeatureExtractor)
        logits, offsets = self.box.predictor(extractor.encode(pooled))
        return logits.softmax(dim=1), offsets


class KeypointPart(nn.Module):
    """The layers of the keypoint head.

    Args:
        keypoint: the head.

    Raises:
        ConfigError: a part is a script's own, and cannot be called with what there is.
    """

    def __init__(self, keypoint: ROIKeypointHead) -> None:
        super().__init__()
        if not isinstance(keypoint.feature_extractor, ROIFeatureExtractor):
            raise ConfigError("MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR: cannot be exported")
        if not isinstance(keypoint.predictor, KeypointRCNNPredictor):
            raise ConfigError("MODEL.ROI_KEYPOINT_HEAD.PREDICTOR: cannot be exported")
        self.keypoint = keypoint
        self.eval()

    def forward(self, pooled: Tensor) -> Tensor:
        """Heat maps (R, P, S, S) of pooled maps (R, F, M, M)."""
        head = self.keypoint
        extractor, predictor = head.feature_extractor, head.predictor
        assert isinstance(extractor, ROIFeatureExtractor)
        assert isinstance(predictor, KeypointRCNNPredictor)
        logits = predictor.kps_score_lowres(extractor.encode(pooled))
        # The predictor's own resize, as products: it is traced for a fixed number of boxes.
        cells = torch.eye(logits.shape[-1])[None]
        finer = F.interpolate(cells, scale_factor=2.0, mode="linear", align_corners=False)[0]
        maps: Tensor = finer.T @ logits @ finer
        return maps


class MaskPart(nn.Module):
    """The layers of the mask head, and of the mask-IoU head where there is one.

    Args:
        mask: the mask head.
        maskiou: the head that re-scores its masks, or None.

    Raises:
        ConfigError: a part is a script's own, and cannot be called with what there is.
    """

    def __init__(self, mask: ROIMaskHead, maskiou: ROIMaskIoUHead | None) -> None:
        super().__init__()
        if not isinstance(mask.feature_extractor, ROIFeatureExtractor):
            raise ConfigError("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR: cannot be exported")
        if not mask.predictor_takes_labels:
            raise ConfigError("MODEL.ROI_MASK_HEAD.PREDICTOR: cannot be exported, takes no labels")
        self.mask = mask
        self.maskiou = maskiou
        self.eval()

    def forward(self, pooled: Tensor, labels: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (R, M, M) and their scores (R,) of pooled maps (R, F, M / 2, M / 2)."""
        extractor = self.mask.feature_extractor
        assert isinstance(extractor, ROIFeatureExtractor)
        masks = self.mask.predictor(extractor.encode(pooled), labels).sigmoid()
        if self.maskiou is None:
            return masks, scores + 0.0
        head = self.maskiou
        all_iou = head.predictor(head.feature_extractor(pooled, masks[:, None]))
        own = all_iou.gather(1, labels[:, None])[:, 0]
        return masks, scores * own


def write_dense_part(
    part: DensePart, divisor: int, size_hw: tuple[int, int] | None = None
) -> "onnx.ModelProto":
    """The part for images (1, 3, H, W).

    Args:
        part: what is written.
        divisor: the images may have any sides that are multiples of it.
        size_hw: they have this size alone.
    """
    example, sides = _images(divisor, size_hw)
    return _write(part, (example,), sides)


def trace_dense_part(
    part: nn.Module, divisor: int, size_hw: tuple[int, int] | None, stride: int
) -> torch.export.ExportedProgram:
    """A dense part as a program of PyTorch.

    Args:
        part: what is traced.
        divisor: as in ``write_dense_part``.
        size_hw: likewise.
        stride: px for a cell of the coarsest map, which has to have two rows and columns.
    """
    example, sides = _images(divisor, size_hw, stride + 1)
    with torch.no_grad(), _quiet():
        return torch.export.export(part, (example,), dynamic_shapes=sides or None)


def _images(
    divisor: int, size_hw: tuple[int, int] | None, least: int = 1
) -> tuple[Tensor, dict[str, dict[int, Any]]]:
    """Images to trace with, and which of their sides may be others, of so many px at least."""
    if size_hw is not None:
        return torch.zeros(1, 3, *size_hw), {}
    step = max(divisor, 1)
    sides = {axis: _multiple(name, step, least) for axis, name in ((2, "height"), (3, "width"))}
    example = torch.zeros(1, 3, -(-256 // step) * step, -(-320 // step) * step)
    return example, {"images": sides}


def write_box_part(part: BoxPart | KeypointPart, pooled_shape: Sequence[int]) -> "onnx.ModelProto":
    """The part for any number of boxes, of pooled maps (F, M, M)."""
    number = torch.export.Dim("boxes", min=2)
    return _write(part, (torch.zeros(_NUM_EXAMPLES, *pooled_shape),), {"pooled": {0: number}})


def write_mask_part(part: MaskPart, pooled_shape: Sequence[int]) -> "onnx.ModelProto":
    """The part for any number of boxes, of pooled maps (F, M / 2, M / 2)."""
    number = torch.export.Dim("boxes", min=2)
    examples = (
        torch.zeros(_NUM_EXAMPLES, *pooled_shape),
        torch.ones(_NUM_EXAMPLES, dtype=torch.int64),
        torch.ones(_NUM_EXAMPLES),
    )
    return _write(part, examples, {name: {0: number} for name in ("pooled", "labels", "scores")})


def _multiple(name: str, step: int, least: int) -> Any:  # noqa: ANN401 - torch.export's own type
    number = torch.export.Dim(name, min=-(-least // step), max=1 << 16)
    return number if step == 1 else step * number


def _write(
    part: nn.Module, examples: tuple[Tensor, ...], dynamic: dict[str, dict[int, Any]]
) -> "onnx.ModelProto":
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            part,
            examples,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic or None,
            custom_translation_table={torch.ops.centermask.deform_conv.default: _deform_conv},
        )
    assert program is not None
    model = program.model_proto
    if model.functions:
        # Programs of PyTorch alone do without this package.
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    return model


def _deform_conv(
    maps: _Traced,
    offset: _Traced,
    modulation: _Traced | None,
    weight: _Traced,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> _Traced:
    """Our operator as the standard's."""
    from onnxscript import opset20

    kernel = list(weight.shape[2:])
    return opset20.DeformConv(
        maps,
        weight,
        offset,
        None,
        modulation,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        kernel_shape=kernel,
        group=maps.shape[1] // weight.shape[1],
        offset_group=offset.shape[1] // (2 * kernel[0] * kernel[1]),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A block in which PyTorch's exporter tells nothing of its steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)
