"""How large a model is and how much it computes for an image.

Counts multiply-adds, which most papers and detectron2 call FLOPs (each is two floating-point
operations). Convolutions and matrix products count; what is one operation a value does not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList

# Heads cost the same for every box, so a few boxes tell what many cost.
_BOXES = 2
_FLOPS_PER_MULTIPLY_ADD = 2


class PartComplexity(NamedTuple):
    """One part of a model.

    Attributes:
        name: "backbone", "rpn", "box head" …
        parameters: how many, frozen ones included, the statistics of normalisation left out.
            One that an earlier part has too is counted there.
        multiply_adds: for one image.
        boxes: how many boxes of the image the part works on; None: on the whole image.
    """

    name: str
    parameters: int
    multiply_adds: int
    boxes: int | None


class Complexity(NamedTuple):
    """Size and work of a model.

    Attributes:
        parts: in the order in which they run.
        image_hw: padded image that the work is for, px.
    """

    parts: tuple[PartComplexity, ...]
    image_hw: tuple[int, int]

    @property
    def parameters(self) -> int:
        """Parameters of all parts."""
        return sum(part.parameters for part in self.parts)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all parts for one image."""
        return sum(part.multiply_adds for part in self.parts)

    def table(self) -> str:
        """The parts and their sum as plain text."""
        rows = [*self.parts, PartComplexity("sum", self.parameters, self.multiply_adds, None)]
        height, width = self.image_hw
        lines = [f"{'':15}{'parameters':>12}{'GFLOPs':>10}  for an image of {width} x {height} px"]
        for part in rows:
            numbers = f"{part.parameters / 1e6:>10.2f} M{part.multiply_adds / 1e9:>10.2f}"
            boxes = "" if part.boxes is None else f"  for {part.boxes} boxes"
            lines.append(f"{part.name:15}{numbers}{boxes}")
        return "\n".join(lines)


def build_complexity(cfg: CfgNode, image_hw: tuple[int, int] | None = None) -> Complexity:
    """Size and work of the model of ``cfg`` for one image, without computing the large maps.

    Heads work on as many boxes as a test hands them at most: the box head on all proposals, the
    others on all detections.

    Args:
        cfg: the settings; weights are not read.
        image_hw: padded image, px; None: MIN_SIZE_TEST x MAX_SIZE_TEST, landscape, padded.

    Raises:
        ConfigError: for a model that cannot be built.
    """
    model = build_detection_model(cfg).eval()
    height, width = image_hw or _make_test_image_hw(cfg)
    image = torch.zeros(1, 3, height, width, device="meta")
    maps, backbone = _count(_on_meta(model.backbone), image)
    _, proposals = _count(_on_meta(model.rpn.get_submodule("head")), maps)
    parts: list[tuple[str, nn.Module, int, int | None]] = [
        ("backbone", model.backbone, backbone, None),
        ("rpn", model.rpn, proposals, None),
    ]
    if model.has_roi_heads:
        boxes = _make_box_counts(cfg)
        for name, work in _head_work(model.roi_heads, maps, (width, height)).items():
            total = work * boxes[name] // _BOXES
            parts.append((f"{name} head", model.roi_heads[name], total, boxes[name]))
    return Complexity(tuple(_without_shared_parameters(parts)), (height, width))


def _make_test_image_hw(cfg: CfgNode) -> tuple[int, int]:
    step = max(cfg.DATALOADER.SIZE_DIVISIBILITY, 1)
    height, width = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    return -(-height // step) * step, -(-width // step) * step


def _make_box_counts(cfg: CfgNode) -> dict[str, int]:
    spec = ArchitectureSpec.from_config(cfg)
    two_stage = "box" in spec.roi_heads
    detections = cfg.MODEL.ROI_HEADS if two_stage else cfg.TEST
    rpn = cfg.MODEL.RPN
    proposals = rpn.FPN_POST_NMS_TOP_N_TEST if rpn.USE_FPN else rpn.POST_NMS_TOP_N_TEST
    counts = dict.fromkeys(spec.roi_heads, int(detections.DETECTIONS_PER_IMG))
    num_masks = cfg.MODEL.RETINANET.NUM_MASKS_TEST
    if spec.proposal == "retinanet" and num_masks > 0:
        counts = {name: min(n, num_masks) for name, n in counts.items()}
    return {**counts, "box": int(proposals)}


def _on_meta(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).to("meta")


def _count(function: Callable[..., Any], *arguments: object) -> tuple[Any, int]:
    """What the function returns, and its multiply-adds."""
    formulas = {torch.ops.centermask.deform_conv: _deform_conv_flops}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter, torch.no_grad():
        result = function(*arguments)
    return result, counter.get_total_flops() // _FLOPS_PER_MULTIPLY_ADD


def _deform_conv_flops(
    input_shape: Sequence[int],
    offset_shape: Sequence[int],
    mask_shape: Sequence[int] | None,
    weight_shape: Sequence[int],
    *_: object,
    out_shape: Sequence[int],
    **__: object,
) -> int:
    """Those of the convolution; sampling is a few operations a value."""
    del input_shape, offset_shape, mask_shape
    return _FLOPS_PER_MULTIPLY_ADD * math.prod(out_shape) * math.prod(weight_shape[1:])


def _head_work(
    heads: nn.ModuleDict, maps: Sequence[Tensor], image_wh: tuple[int, int]
) -> dict[str, int]:
    """Multiply-adds of each head for ``_BOXES`` boxes."""
    features = [torch.zeros(each.shape) for each in maps]
    detections = [_detections(image_wh)]
    work = {}
    for name in heads:
        if name == "maskiou":
            maskiou_inputs = heads["mask"](features, detections).maskiou
            _, work[name] = _count(heads[name], maskiou_inputs, detections)
        else:
            _, work[name] = _count(heads[name], features, detections)
    return work


def _detections(image_wh: tuple[int, int]) -> BoxList:
    boxes = BoxList(torch.tensor([[0.0, 0.0, 99.0, 99.0]] * _BOXES), image_wh)
    boxes.add_field("labels", torch.ones(_BOXES, dtype=torch.int64))
    for name in ("scores", "objectness"):
        boxes.add_field(name, torch.ones(_BOXES))
    return boxes


def _without_shared_parameters(
    parts: Sequence[tuple[str, nn.Module, int, int | None]],
) -> Iterator[PartComplexity]:
    """The parts, each parameter counted in the first part that has it."""
    counted: set[int] = set()
    for name, module, work, boxes in parts:
        own = {id(each): each.numel() for each in module.parameters() if id(each) not in counted}
        counted |= own.keys()
        yield PartComplexity(name, sum(own.values()), work, boxes)
