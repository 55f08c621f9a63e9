"""How large a model is and how much it computes for an image.

Counts multiply-adds, which most papers and detectron2 call FLOPs (each is two floating-point
operations). Convolutions and matrix products count; what is one operation a value does not.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.data.transforms import make_size_divisor
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.modeling.stage import StageOutput
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
    others on all detections. ``image_hw`` is that of the padded image in px; None: MIN_SIZE_TEST x
    MAX_SIZE_TEST, landscape, padded. Weights are not read.

    Raises:
        ConfigError: for a model that cannot be built.
    """
    # A head may return parameters, whose gradients nobody counts.
    model = build_detection_model(cfg).eval().requires_grad_(False)
    height, width = image_hw or _make_test_image_hw(cfg)
    paths = {"backbone": "backbone", "rpn": "rpn"}
    boxes: dict[str, int] = {}
    if model.has_roi_heads:
        paths |= {f"{name} head": f"roi_heads.{name}" for name in model.roi_heads}
        boxes = {f"{name} head": count for name, count in _make_box_counts(cfg).items()}
    work = _count(model, (height, width))
    parts = []
    for name, path in paths.items():
        total = work[path] * boxes[name] // _BOXES if name in boxes else work[path]
        parts.append((name, model.get_submodule(path), total, boxes.get(name)))
    return Complexity(tuple(_without_shared_parameters(parts)), (height, width))


def _make_test_image_hw(cfg: CfgNode) -> tuple[int, int]:
    step = max(make_size_divisor(cfg), 1)
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


def _count(model: GeneralizedRCNN, image_hw: tuple[int, int]) -> dict[str, int]:
    """Multiply-adds of a forward of the model by module, with ``_BOXES`` boxes in the heads."""
    height, width = image_hw
    # What works on whole maps computes shapes only; whoever takes them gets zeros.
    for module in (model.backbone, model.rpn.get_submodule("head")):
        module.to("meta")
        module.register_forward_pre_hook(lambda _, inputs: tree_map_only(Tensor, _on_meta, inputs))
        module.register_forward_hook(lambda _, __, output: tree_map_only(Tensor, _zeros, output))
    # Whatever boxes a stage finds, the next one gets those that are given.
    given = [_boxes((width, height))]
    model.rpn.register_forward_hook(lambda *_: StageOutput(given, {}))
    for head in model.roi_heads.values() if model.has_roi_heads else ():
        head.register_forward_hook(lambda _, __, output: output._replace(boxes=given))
    formulas = {torch.ops.centermask.deform_conv: _deform_conv_flops}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter, torch.no_grad():
        model(torch.zeros(1, 3, height, width))
    root = f"{type(model).__name__}."
    return {
        name.removeprefix(root): sum(flops.values()) // _FLOPS_PER_MULTIPLY_ADD
        for name, flops in counter.get_flop_counts().items()
    }


def _on_meta(tensor: Tensor) -> Tensor:
    return tensor.to("meta")


def _zeros(tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape)


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


def _boxes(image_wh: tuple[int, int]) -> BoxList:
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
