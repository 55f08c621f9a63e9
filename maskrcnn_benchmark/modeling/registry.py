"""Every registry of the package: names that YAML files use -> builders of model parts.

What a registry's builders are called with is its ``arguments``; ``build`` does it. Scripts written
for the original register builders of fewer arguments: those get the ones they know.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor, nn

from maskrcnn_benchmark.config.registry import Registry
from maskrcnn_benchmark.structures.bounding_box import BoxList

Part = TypeVar("Part")


class PartRegistry(Registry[Callable[..., Part]]):
    """A table of builders of one kind of part, all called alike.

    Args:
        kind: what the parts are, in singular, for error messages ("backbone").
        arguments: names of what builders are called with, in their order.
    """

    def __init__(self, kind: str, arguments: tuple[str, ...]) -> None:
        super().__init__(kind)
        self.arguments = arguments

    def build(self, name: str, *arguments: object) -> Part:
        """The part that the builder registered under ``name`` makes.

        Args:
            name: as in the configuration.
            arguments: those of the registry. The builder gets as many as it demands, and those
                that it has under the registry's name for them.

        Raises:
            UnknownNameError: when the name is unknown; the message lists the known ones.
        """
        builder = self[name]
        return builder(*arguments[: _num_taken(builder, self.arguments)])


def _num_taken(builder: Callable[..., object], names: tuple[str, ...]) -> int:
    """How many of the arguments of these names, the first ones, the builder is to be called with.

    An optional parameter of another name is the builder's own affair.
    """
    num_taken = 0
    for parameter in inspect.signature(builder).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return len(names)
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            break
        is_demanded = parameter.default is parameter.empty
        if not is_demanded and parameter.name not in names[num_taken : num_taken + 1]:
            break
        num_taken += 1
    return num_taken


def accepts(function: Callable[..., object], num_arguments: int) -> bool:
    """Whether a function can be called with so many arguments.

    Tells parts of a model that were written for the original from those with arguments of here.
    """
    try:
        inspect.signature(function).bind(*range(num_arguments))
    except TypeError:
        return False
    return True


_OF_HEADS = ("cfg", "in_channels", "spec")

NORMS = PartRegistry[Callable[[int], nn.Module]](
    "norm (MODEL.FPN.NORM, MODEL.ROI_BOX_HEAD.NORM, MODEL.ROI_MASK_HEAD.NORM)", ("cfg",)
)
BACKBONES = PartRegistry[nn.Module]("backbone (MODEL.BACKBONE.CONV_BODY)", ("cfg",))
RPN_HEADS = PartRegistry[nn.Module](
    "RPN head (MODEL.RPN.RPN_HEAD)", ("cfg", "in_channels", "num_anchors")
)
FCOS_HEADS = PartRegistry[nn.Module]("FCOS head (MODEL.FCOS.HEAD)", _OF_HEADS)
ROI_HEADS = PartRegistry[nn.Module](
    "RoI head (MODEL.MASK_ON, MODEL.KEYPOINT_ON)", (*_OF_HEADS, "box_extractor")
)


def _of_head(part: str, key: str, head: str) -> PartRegistry[nn.Module]:
    section = f"MODEL.ROI_{head.upper().replace('-', '')}_HEAD"
    return PartRegistry(f"{head} {part} ({section}.{key})", _OF_HEADS)


_extractors = partial(_of_head, "feature extractor", "FEATURE_EXTRACTOR")
_predictors = partial(_of_head, "predictor", "PREDICTOR")

ROI_BOX_FEATURE_EXTRACTORS = _extractors("box")
ROI_BOX_PREDICTOR = _predictors("box")
ROI_MASK_FEATURE_EXTRACTORS = _extractors("mask")
ROI_MASK_PREDICTOR = _predictors("mask")
ROI_MASKIOU_FEATURE_EXTRACTORS = _extractors("mask-IoU")
ROI_MASKIOU_PREDICTOR = _predictors("mask-IoU")
ROI_KEYPOINT_FEATURE_EXTRACTORS = _extractors("keypoint")
ROI_KEYPOINT_PREDICTOR = _predictors("keypoint")
LEVEL_MAPPERS = PartRegistry[Callable[[list[BoxList]], Tensor]](
    "level mapper (MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION)", ("k_min", "k_max", "rules")
)
