"""Weights of one set of classes for a model of another: rows of the same names are kept.

Shapes: T classes in the file, C classes of the model, both without background.
"""

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_BACKGROUND_ROWS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "cls_logits": 0,
        "cls_score": 1,
        "bbox_pred": 1,
        "mask_fcn_logits": 1,
        "maskiou": 1,
        # Of YOLACT.
        "conf_pred": 1,
        "semantic": 0,
        "maskiou_pred": 0,
        # Of ShapeMask; its priors are a tensor of the mask head itself.
        "predict": 1,
        "prior_classifier": 1,
        "mask": 1,
    }
)
"""Layers with rows for each class -> whether the background, which comes first, has some, too."""
_DENSE_HEAD: Final = "rpn.head."
_BOX_HEAD: Final = "roi_heads.box."
_BOX_LAYER: Final = "bbox_pred"
_LOGITS: Final = "cls_logits"
_TOGETHER: Final = (_BOX_LAYER, "prior_classifier")
"""Layers whose rows of a class lie together; those of anchors lie apart."""


def with_own_classes(
    tensors: Mapping[str, Tensor],
    model: Mapping[str, Tensor],
    theirs: Sequence[str],
    ours: Sequence[str],
) -> dict[str, Tensor]:
    """The tensors of a file, with class layers as a model of other classes needs them.

    Outputs of classes that both have, and of the background, come from the file, those of other
    classes from the model. What was kept, made anew and left out is logged.

    Args:
        tensors: of the file, by the model's names.
        model: the state dict of the model.
        theirs: names of the file's classes in the order of their labels, (T,).
        ours: names of the model's classes, (C,).
    """
    shared = [name for name in ours if name in theirs]
    logger.info(
        "Classes: %s kept; %s new; %s left out",
        ", ".join(shared) or "none",
        ", ".join(name for name in ours if name not in theirs) or "none",
        ", ".join(name for name in theirs if name not in ours) or "none",
    )
    # A class may occur twice; its first place counts.
    pairs = [(theirs.index(name), place) for place, name in enumerate(ours) if name in theirs]
    sources = torch.tensor([source for source, _ in pairs], dtype=torch.int64)
    targets = torch.tensor([target for _, target in pairs], dtype=torch.int64)
    has_box_head = any(name.startswith(_BOX_HEAD) for name in model)
    result = dict(tensors)
    for name, tensor in tensors.items():
        layer = _layer(name)
        if name not in model or not _is_class_layer(name, has_box_head):
            continue
        background = _num_background_rows(layer, model, len(ours))
        num_theirs, num_ours = len(theirs) + background, len(ours) + background
        if not _fits(tensor, model[name], num_theirs, num_ours):
            continue
        num_apart = 1 if layer in _TOGETHER else len(tensor) // num_theirs
        given = tensor.reshape(num_apart, num_theirs, -1, *tensor.shape[1:])
        made = model[name].to(tensor, copy=True)
        made = made.reshape(num_apart, num_ours, -1, *tensor.shape[1:])
        made[:, :background] = given[:, :background]
        made[:, targets + background] = given[:, sources + background]
        result[name] = made.reshape(model[name].shape)
    return result


def _layer(name: str) -> str:
    """The last name before that of the tensor."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _num_background_rows(layer: str, model: Mapping[str, Tensor], num_classes: int) -> int:
    """1 if the background has rows, 0 if it has none."""
    logits, codes = (model.get(f"{_DENSE_HEAD}{each}.bias") for each in (_LOGITS, _BOX_LAYER))
    if layer != _LOGITS or logits is None or codes is None:
        return _BACKGROUND_ROWS[layer]
    # An anchor has four codes, and a logit for each class or one more (ShapeMask).
    return int(len(logits) // max(len(codes) // 4, 1) == num_classes + 1)


def _is_class_layer(name: str, has_box_head: bool) -> bool:
    """Whether a tensor has a row a class. With a box head the dense head knows no classes."""
    layer = _layer(name)
    if name.startswith(_DENSE_HEAD) and (has_box_head or layer == _BOX_LAYER):
        return False
    return layer in _BACKGROUND_ROWS


def _fits(given: Tensor, own: Tensor, num_theirs: int, num_ours: int) -> bool:
    """Whether both have the same number of rows for every class."""
    return (
        given.ndim > 0
        and given.shape[1:] == own.shape[1:]
        and len(given) % num_theirs == 0
        and len(own) % num_ours == 0
        and len(given) // num_theirs == len(own) // num_ours
    )
