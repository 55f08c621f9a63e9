"""Weights of torchvision and timm, by the download code of those libraries."""

import contextlib
import difflib
import importlib
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.utils.comm import is_main_process, synchronize
from maskrcnn_benchmark.weights.imagenet import convert_backbone
from maskrcnn_benchmark.weights.load_report import CheckpointError, WeightFile
from maskrcnn_benchmark.weights.torchvision import DETECTOR_SETTINGS, convert_torchvision

StateDict = dict[str, Tensor]

# The networks of torchvision that a backbone here can take.
_TORCHVISION_RESNETS = (
    *("resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d"),
    *("resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)
_TORCHVISION_MODELS = (*_TORCHVISION_RESNETS, "mobilenet_v2")
_TORCHVISION_DETECTORS = (
    *("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"),
    *("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"),
    *("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"),
)
# Of the several that torchvision has for most networks. A later version of it must not change what
# a name here means, so its own default is not asked for.
_TORCHVISION_WEIGHTS = {_TORCHVISION_MODELS: "IMAGENET1K_V1", _TORCHVISION_DETECTORS: "COCO_V1"}
# Epsilon of the frozen norms of a detector's weights where it is not that of most others.
_FROZEN_EPS = {"keypointrcnn_resnet50_fpn.COCO_LEGACY": 1e-5}
# Starts of the names of timm's networks that have ResNet's names and its stride in the 3x3.
_TIMM_RESNETS = ("resnet", "resnext", "wide_resnet")
# What the libraries raise when a download fails, or its check sum is wrong.
_DOWNLOAD_ERRORS = (OSError, RuntimeError, ValueError)


class LibraryWeights(NamedTuple):
    """Weights that a library knows and has not loaded yet.

    Attributes:
        settings: what they were trained with.
        fetch: returns the state dict of the whole network, after downloading it if need be.
        convert: that state dict -> its tensors under our names.
    """

    settings: WeightSettings
    fetch: Callable[[], StateDict]
    convert: Callable[[StateDict], WeightFile] = convert_backbone


def find_library_weights(address: str) -> LibraryWeights | None:
    """The weights behind ``"torchvision://MODEL[.WEIGHTS]"`` or ``"timm://MODEL"``.

    None if the address is of another kind. Nothing is downloaded yet.

    Raises:
        ConfigError: the library is not installed or does not have the weights, or no backbone here
            takes them.
    """
    scheme, separator, name = address.partition("://")
    find = _FINDERS.get(scheme) if separator else None
    return None if find is None else find(name)


def build_library_network(name: str) -> nn.Module:
    """The network ``"torchvision/MODEL"`` or ``"timm/MODEL"`` with random weights.

    Raises:
        ConfigError: the library is not installed or has no such network, or no backbone here is
            the same.
    """
    library, _, model = name.partition("/")
    network: nn.Module
    if library == "torchvision" and model in _TORCHVISION_MODELS:
        network = _import("torchvision", "torchvision.models").get_model(model, weights=None)
    elif library == "timm" and _import("timm", "timm").is_model(model):
        network = _import("timm", "timm").create_model(model)
    else:
        raise ConfigError(
            f"expected torchvision/MODEL with one of {', '.join(_TORCHVISION_MODELS)}, or "
            f"timm/MODEL, as in timm/ese_vovnet39b; got {name!r}"
        )
    return network


def fetch_in_turn(name: str, fetch: Callable[[], StateDict]) -> StateDict:
    """What ``fetch`` returns; of a distributed run, the first process alone downloads.

    Raises:
        CheckpointError: the download failed.
    """
    state_dict: StateDict | None = None
    try:
        if is_main_process():
            state_dict = fetch()
    except _DOWNLOAD_ERRORS as error:
        raise CheckpointError(
            f"{name}: cannot be downloaded ({type(error).__name__}: {error}). Without a "
            "connection, copy the library's cache from a machine that has one (torchvision: "
            "$TORCH_HOME/hub/checkpoints, timm: $HF_HOME/hub), or set MODEL.WEIGHT to a file"
        ) from error
    finally:
        synchronize()
    return fetch() if state_dict is None else state_dict


def _find_torchvision(name: str) -> LibraryWeights:
    model, _, version = name.partition(".")
    usual = next((one for kind, one in _TORCHVISION_WEIGHTS.items() if model in kind), None)
    if usual is None:
        raise ConfigError(
            f"MODEL.WEIGHT: no backbone takes catalog://torchvision/{name}; "
            f"expected one of {', '.join((*_TORCHVISION_MODELS, *_TORCHVISION_DETECTORS))}, as in "
            "catalog://torchvision/resnet50.IMAGENET1K_V2"
        )
    models = _import("torchvision", "torchvision.models")
    known = models.get_model_weights(model)
    version = version or usual
    if version not in known.__members__:
        raise ConfigError(
            f"MODEL.WEIGHT: torchvision has no weights {version!r} of {model}; it has "
            f"{', '.join(known.__members__)}"
        )
    weights = known[version]

    def fetch() -> StateDict:
        # The library tells of its download on the standard output.
        with contextlib.redirect_stdout(sys.stderr):
            state_dict: StateDict = weights.get_state_dict(
                progress=sys.stderr.isatty(),
                check_hash=True,
                map_location="cpu",
                weights_only=True,
            )
        return state_dict

    if model in _TORCHVISION_DETECTORS:
        convert = partial(convert_torchvision, frozen_eps=_FROZEN_EPS.get(f"{model}.{version}"))
        return LibraryWeights(DETECTOR_SETTINGS, fetch, convert)
    images = weights.transforms()
    stride_in_1x1 = False if model in _TORCHVISION_RESNETS else None
    return LibraryWeights(_rgb(images.mean, images.std, stride_in_1x1), fetch)


def _find_timm(name: str) -> LibraryWeights:
    timm = _import("timm", "timm")
    if not timm.is_model_pretrained(name):
        similar = difflib.get_close_matches(name, timm.list_pretrained(), n=5, cutoff=0.5)
        raise ConfigError(
            f"MODEL.WEIGHT: timm {timm.__version__} has no pretrained weights {name!r}; "
            f"similar: {', '.join(similar) or 'none'}"
        )
    images = timm.get_pretrained_cfg(name)

    def fetch() -> StateDict:
        # timm reads safetensors, and other files with weights_only.
        state_dict: StateDict = timm.create_model(name, pretrained=True).state_dict()
        return state_dict

    stride_in_1x1 = False if name.startswith(_TIMM_RESNETS) else None
    return LibraryWeights(_rgb(images.mean, images.std, stride_in_1x1), fetch)


_FINDERS: dict[str, Callable[[str], LibraryWeights]] = {
    "torchvision": _find_torchvision,
    "timm": _find_timm,
}


def _rgb(mean: Any, std: Any, stride_in_1x1: bool | None) -> WeightSettings:  # noqa: ANN401 - lists or tuples of an untyped library
    return WeightSettings(False, tuple(mean), tuple(std), stride_in_1x1)


def _import(library: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{library}/... needs {library}, which is not installed "
            f"({error}); run: pip install {library}"
        ) from error
