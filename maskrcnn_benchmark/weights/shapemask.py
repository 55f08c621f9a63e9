"""Weights of ShapeMask's authors, variables of TensorFlow, under our names.

The layout is that of tensorflow/tpu, ``models/official/detection``; its Keras version has another.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.config.coco_ids import COCO_IDS
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.weights.load_report import CheckpointError, WeightFile, summarize

BN_EPS: Final = 1e-4
PRIORS: Final = "shape_priors"
"""What the array of the shape priors is to be called, which TensorFlow keeps in a file apart."""
_MARK: Final = "retinanet/class_net/class-predict/kernel"
_IMAGES: Final = WeightSettings(
    to_bgr255=False,
    pixel_mean=(0.485, 0.456, 0.406),
    pixel_std=(0.229, 0.224, 0.225),
    stride_in_1x1=False,
)
_BLOCKS: Final = MappingProxyType({50: (3, 4, 6, 3), 101: (3, 4, 23, 3)})
_LEVELS: Final = range(3, 8)
_MASKS: Final = "roi_heads.mask"
# States of the optimizer and counters.
_UNUSED: Final = re.compile(
    r"(.+/)?(Momentum(_\d+)?|ExponentialMovingAverage|global_step|beta\d_power)"
)
# Tensors with rows for the classes -> rows a class that lie together; anchors lie apart.
_OF_CLASSES: Final = ("rpn.head.cls_logits.", f"{_MASKS}.prior_classifier.", ".predict.", PRIORS)

Array = NDArray[Any]
Table = dict[str, tuple[str, Callable[[Array], Array]]]


def is_shapemask(names: Iterable[str]) -> bool:
    """Whether names are those of the variables of a ShapeMask."""
    return any(name.removesuffix(":0") == _MARK for name in names)


def convert_shapemask(arrays: Mapping[str, Array]) -> WeightFile:
    """All variables under our names; of 91 rows for classes, those of COCO's 80 ids are kept.

    Args:
        arrays: by the names of the variables, and the priors (C, K, 32, 32) as ``shape_priors``.

    Raises:
        CheckpointError: a variable is unknown or absent, or there are no priors.
    """
    given = {name.removesuffix(":0"): array for name, array in arrays.items()}
    ignored = tuple(name for name in given if _UNUSED.fullmatch(name))
    table = _table(101 if any(name.startswith("resnet101/") for name in given) else 50)
    unknown = tuple(name for name in given if name not in table and name not in ignored)
    if unknown:
        raise CheckpointError(f"variables that no ShapeMask has: {summarize(unknown)}")
    absent = tuple(name for name in table if name not in given)
    if absent == (PRIORS,):
        raise CheckpointError(
            "no shape priors, which TensorFlow keeps in a file apart: write them into this file, "
            f"too, as np.savez(..., {PRIORS}=np.load(that_file))"
        )
    if absent:
        raise CheckpointError(f"variables that are absent: {summarize(absent)}")
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(bring(given[variable]), dtype=np.float32))
        for variable, (name, bring) in table.items()
    }
    return WeightFile(
        _with_coco_classes(tensors),
        "of ShapeMask's authors",
        bn_eps=BN_EPS,
        ignored=ignored,
        settings=_IMAGES,
    )


def _with_coco_classes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a row for the background and each of the 80 classes, if there are 91."""
    num_classes = len(tensors[f"{_MASKS}.{PRIORS}"])
    if num_classes != COCO_IDS[-1] + 1:
        return dict(tensors)
    rows = torch.tensor([0, *COCO_IDS])
    result = dict(tensors)
    for name, tensor in tensors.items():
        # Without a row for each class there is one for all (class-agnostic models).
        if any(part in name for part in _OF_CLASSES) and len(tensor) % num_classes == 0:
            # Those of an anchor lie together, those of a class' priors, too.
            apart = len(tensor) // num_classes if "cls_logits" in name else 1
            of_classes = tensor.view(apart, num_classes, -1, *tensor.shape[1:])
            result[name] = of_classes[:, rows].reshape(-1, *tensor.shape[1:])
    return result


def _table(depth: int) -> Table:
    """Variable -> our name, and what brings it to our layout."""
    table: Table = {PRIORS: (f"{_MASKS}.{PRIORS}", _as_is)}
    for number, (conv, norm) in enumerate(_body(_BLOCKS[depth])):
        end = f"_{number}" if number else ""
        table[f"resnet{depth}/conv2d{end}/kernel"] = (f"{conv}.weight", _from_hwio)
        table |= _norm(f"resnet{depth}/batch_normalization{end}", norm)
    for level in (3, 4, 5):
        table |= _conv(f"fpn/l{level}", f"backbone.fpn.fpn_inner{level - 1}")
        table |= _conv(f"fpn/post_hoc_d{level}", f"backbone.fpn.fpn_layer{level - 1}")
    for level in (6, 7):
        table |= _conv(f"fpn/p{level}", f"backbone.fpn.top_blocks.p{level}")
    for place, level in enumerate(_LEVELS):
        table |= _norm(f"fpn/p{level}-bn", f"backbone.fpn.norms.{place}")
    for theirs, ours, output in (("class", "cls", "cls_logits"), ("box", "bbox", "bbox_pred")):
        net = f"retinanet/{theirs}_net/{theirs}"
        for layer in range(4):
            table |= _conv(f"{net}-{layer}", f"rpn.head.{ours}_tower.{layer}")
            for place, level in enumerate(_LEVELS):
                table |= _norm(f"{net}-{layer}-{level}", f"rpn.head.{ours}_norms.{layer}.{place}")
        table |= _conv(f"{net}-predict", f"rpn.head.{output}")
    return table | _mask_table()


def _mask_table() -> Table:
    table = _conv("prior_mask/dense", f"{_MASKS}.reduce", np.transpose)
    table |= _conv("prior_mask/dense_1", f"{_MASKS}.prior_classifier", np.transpose)
    for part in ("coarse", "fine"):
        table |= _conv(f"{part}_mask/dense", f"{_MASKS}.{part}.embed", np.transpose)
        for layer in range(4):
            table |= _conv(f"{part}_mask/class-{layer}", f"{_MASKS}.{part}.convs.{layer}")
            table |= _norm(f"{part}_mask/class-{layer}-bn", f"{_MASKS}.{part}.norms.{layer}")
        table |= _conv(f"{part}_mask/class-predict", f"{_MASKS}.{part}.predict")
    # (H, W, out, in) -> (in, out, H, W).
    return table | _conv("fine_mask/conv2d_transpose", f"{_MASKS}.fine.upsample")


def _body(blocks: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Our names of each convolution and its norm, in the order in which theirs are counted."""
    start = "backbone.body"
    yield f"{start}.stem.conv1", f"{start}.stem.bn1"
    for stage, number in enumerate(blocks, start=1):
        for block in range(number):
            inside = f"{start}.layer{stage}.{block}"
            if block == 0:
                yield f"{inside}.downsample.0", f"{inside}.downsample.1"
            for layer in (1, 2, 3):
                yield f"{inside}.conv{layer}", f"{inside}.bn{layer}"


def _conv(theirs: str, ours: str, bring: Callable[[Array], Array] | None = None) -> Table:
    return {
        f"{theirs}/kernel": (f"{ours}.weight", bring or _from_hwio),
        f"{theirs}/bias": (f"{ours}.bias", _as_is),
    }


def _norm(theirs: str, ours: str) -> Table:
    return {
        f"{theirs}/gamma": (f"{ours}.weight", _as_is),
        f"{theirs}/beta": (f"{ours}.bias", _as_is),
        f"{theirs}/moving_mean": (f"{ours}.running_mean", _as_is),
        f"{theirs}/moving_variance": (f"{ours}.running_var", _as_is),
    }


def _from_hwio(array: Array) -> Array:
    """(O, I, H, W) of (H, W, I, O)."""
    return array.transpose(3, 2, 0, 1)


def _as_is(array: Array) -> Array:
    return array
