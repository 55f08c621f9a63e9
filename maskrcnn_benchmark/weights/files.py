"""Reading every kind of weight file that a model can start from."""

import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.config.convention import ForeignProgram
from maskrcnn_benchmark.utils.files import atomic_write
from maskrcnn_benchmark.weights.caffe2 import load_caffe2_weights
from maskrcnn_benchmark.weights.detectron2 import (
    BN_EPS,
    convert_detectron2,
    convert_detectron2_resnet,
    is_detectron2,
    is_detectron2_resnet,
)
from maskrcnn_benchmark.weights.imagenet import (
    convert_backbone,
    is_known_network,
    read_npz,
    read_quantized_mobilenet,
)
from maskrcnn_benchmark.weights.load_report import CheckpointError, WeightFile
from maskrcnn_benchmark.weights.model_serialization import plain_names
from maskrcnn_benchmark.weights.plain_pickle import read_plain_pickle
from maskrcnn_benchmark.weights.retinamask import is_retinamask, rename_retinamask
from maskrcnn_benchmark.weights.shapemask import convert_shapemask, is_shapemask
from maskrcnn_benchmark.weights.torchvision import convert_torchvision, is_torchvision_detector
from maskrcnn_benchmark.weights.yolact import convert_yolact, is_yolact

_ZIP_MAGIC = b"PK\x03\x04"
# Endings of what ``torch.save`` does not write.
_OTHER_ENDINGS = (".npz", ".pkl", ".safetensors")
# How torch names what it refuses: "... unsupported GLOBAL posix.system whose module ...".
_FORBIDDEN_NAME = re.compile(r"GLOBAL ([\w.]+)")
# Entries under which training scripts keep a state dict without further states that matter here.
_STATE_DICTS = ("state_dict", "model_state_dict")


def read_weight_file(
    path: str | os.PathLike[str],
    model_names: Iterable[str],
    *,
    heads_of: ForeignProgram = "",
) -> WeightFile:
    """The content of a weight file; its name's ending says how to read it.

    ``.pkl`` is a file of Detectron (Caffe2) or detectron2, ``.npz`` an 8-bit MobileNetV2
    or the variables of a ShapeMask of TensorFlow,
    ``.safetensors`` a state dict, anything else what ``torch.save`` has written: a checkpoint (a
    dictionary with ``"model"``), the state dict of a whole model, or that of an ImageNet
    classifier, in a checkpoint of its own or not. Files of detectron2 and YOLACT are told by their
    names; a bare state dict that shares one of ``model_names`` belongs to a whole model.

    Args:
        path: of the file.
        model_names: names of the model's tensors.
        heads_of: the program whose heads compute what the model's do; of others' files the body
            and the pyramid are taken alone.

    Raises:
        CheckpointError: the file is absent, damaged, would run code, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file (looked for {path.absolute()})")
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".safetensors":
        content: object = _read_safetensors(path)
    elif path.suffix == ".pkl" and not _is_archive(path):
        content = _read_pickle(path)
        if content is None:
            return load_caffe2_weights(path)
    else:
        content = read_torch_file(path)
    return _sort_content(content, path, model_names, heads_of)


def _read_npz(path: Path) -> WeightFile:
    arrays = read_npz(path)
    return convert_shapemask(arrays) if is_shapemask(arrays) else read_quantized_mobilenet(path)


def _read_pickle(path: Path) -> Mapping[str, Any] | None:
    """The content of a pickle of detectron2, with tensors; None of Detectron's (Caffe2)."""
    content = read_plain_pickle(path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        return None
    arrays = {str(k): v for k, v in content["model"].items() if isinstance(v, np.ndarray)}
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    return {**content, "model": tensors}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f"{path}: needs safetensors; run: pip install safetensors") from error
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {_damage(path)} ({error})") from error
    return tensors


def read_torch_file(path: Path) -> object:
    """The object that ``torch.save`` wrote to the file, on the CPU, read without running code.

    Raises:
        CheckpointError: the file is damaged, or holds more than tensors and plain containers.
    """
    _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = _FORBIDDEN_NAME.search(str(error))
        if forbidden:
            raise CheckpointError(
                f"{path}: refused. Besides tensors and plain containers it holds "
                f"{forbidden[1]}, and reading that could run code. If you trust its source, save "
                "its state dict alone to a new file and use that"
            ) from error
        raise CheckpointError(f"{path}: {_damage(path)}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: {_damage(path)} ({error})") from error


def read_mapped(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The entries of a checkpoint, whose tensors stay on the disk; none of all other files.

    A file that is damaged, or would run code, has none: whoever loads it is told of that.
    """
    if not (os.path.isfile(path) and zipfile.is_zipfile(path)):
        return {}
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError):
        return {}
    return content if isinstance(content, dict) else {}


def write_torch_file(content: Mapping[str, Any], path: Path) -> None:
    """Write what ``read_torch_file`` reads, atomically.

    Raises:
        CheckpointError: a file of that name would be taken for one of another format.
    """
    if path.suffix in _OTHER_ENDINGS:
        raise CheckpointError(f"{path}: expected a name that ends in .pth, got {path.suffix}")
    with atomic_write(path) as file:
        torch.save(dict(content), file)


def write_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict as a ``.safetensors`` file, atomically.

    Raises:
        CheckpointError: safetensors is not installed.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise CheckpointError(f"{path}: needs safetensors; run: pip install safetensors") from error
    with atomic_write(path) as file:
        file.write(save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def _check_archive(path: Path) -> None:
    """Refuse an incomplete or altered archive; torch itself does not look at the check sums."""
    if not _is_archive(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CheckpointError(f"{path}: {_damage(path)} ({error})") from error
    if damaged is not None:
        raise CheckpointError(f"{path}: {_damage(path)} (wrong check sum of {damaged})")


def _is_archive(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def _damage(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "a web page, not a weight file; the download went wrong"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weight file itself; run `git lfs pull`"
    text = "damaged or incomplete"
    others = [other for other in path.parent.glob("*.pth") if other.name != path.name]
    if others:
        newest = max(others, key=lambda other: other.stat().st_mtime)
        text += f"; the newest other checkpoint beside it is {newest.name}"
    return text


def _sort_content(
    content: object, path: Path, model_names: Iterable[str], heads_of: ForeignProgram
) -> WeightFile:
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: expected a dictionary, found a {type(content).__name__}")
    entries = dict(content)
    is_checkpoint = isinstance(entries.get("model"), Mapping)
    if is_checkpoint:
        state_dict = entries.pop("model")
    else:
        named = (entries.get(name) for name in _STATE_DICTS)
        state_dict = next((entry for entry in named if isinstance(entry, Mapping)), content)
    tensors = _tensors(state_dict, path)
    if is_torchvision_detector(tensors):
        return convert_torchvision(tensors, same_rules=heads_of == "torchvision")
    if is_detectron2(tensors):
        return convert_detectron2(tensors, same_rules=heads_of == "detectron2")
    if is_yolact(tensors):
        return convert_yolact(tensors)
    if is_detectron2_resnet(tensors):
        return convert_detectron2_resnet(tensors, entries.get("__author__"))
    if is_retinamask(tensors):
        return WeightFile(rename_retinamask(tensors), "of RetinaMask", entries=entries)
    is_foreign = tensors.keys().isdisjoint(model_names)
    if is_checkpoint and not (is_foreign and is_known_network(tensors)):
        return WeightFile(tensors, "a checkpoint", entries=entries)
    if is_foreign:
        return convert_backbone(tensors, frozen_eps=BN_EPS if heads_of == "detectron2" else 0.0)
    return WeightFile(tensors, "a bare state dict")


def _tensors(state_dict: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    tensors = {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}
    if not tensors:
        names = ", ".join(map(str, list(state_dict)[:8])) or "nothing"
        raise CheckpointError(f"{path}: no tensors in it, only {names}")
    return plain_names(tensors)
