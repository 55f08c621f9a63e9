import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config.paths_catalog import ModelCatalog
from maskrcnn_benchmark.weights.files import read_torch_file, read_weight_file
from maskrcnn_benchmark.weights.load_report import CheckpointError

NAMES = ("backbone.body.conv.weight", "head.weight")


def _model() -> dict[str, torch.Tensor]:
    return {name: torch.arange(1000.0) for name in NAMES}


def _save(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "torch 1.0"])
def test_a_checkpoint_gives_its_model_and_its_further_entries(zipped: bool, tmp_path: Path):
    model = {f"module.{name}": value for name, value in _model().items()}
    path = _save(tmp_path / "m.pth", {"model": model, "iteration": 7, "optimizer": {}}, zipped)
    file = read_weight_file(path, NAMES)
    assert file.kind == "a checkpoint"
    assert not file.is_backbone
    assert tuple(file.tensors) == NAMES
    assert file.entries == {"iteration": 7, "optimizer": {}}


@pytest.mark.parametrize(
    "wrap", [lambda d: d, lambda d: {"state_dict": d, "epoch": 3}], ids=["bare", "state_dict"]
)
def test_a_state_dict_of_a_whole_model_is_told_by_its_names(wrap, tmp_path: Path):
    file = read_weight_file(_save(tmp_path / "m.pth", wrap(_model())), NAMES)
    assert file.kind == "a bare state dict"
    assert not file.is_backbone
    assert file.entries == {}


def test_a_bare_backbone_matches_by_suffix(tmp_path: Path):
    content = {"module.conv.weight": torch.ones(1), "module.fc.weight": torch.ones(1)}
    file = read_weight_file(_save(tmp_path / "m.pth", content), NAMES)
    assert file.is_backbone
    assert tuple(file.tensors) == ("conv.weight",)
    assert file.ignored == ("fc.weight",)


MOBILENET = {"features.0.0.weight": torch.ones(1), "features.1.conv.0.weight": torch.ones(1)}


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_a_checkpoint_of_a_classifier_is_a_backbone(key: str, tmp_path: Path):
    """torchvision's reference scripts write "model", as detectors do."""
    content = {key: {f"module.{k}": v for k, v in MOBILENET.items()}, "epoch": 3}
    file = read_weight_file(_save(tmp_path / "m.pth", content), NAMES)
    assert file.kind == "an ImageNet MobileNetV2"
    assert file.is_backbone
    assert file.tensors.keys() == MOBILENET.keys()
    assert file.entries == {}


def test_a_checkpoint_of_the_model_itself_stays_one_though_it_is_a_body(tmp_path: Path):
    path = _save(tmp_path / "m.pth", {"model": MOBILENET, "iteration": 3})
    file = read_weight_file(path, MOBILENET)
    assert file.kind == "a checkpoint"
    assert file.entries == {"iteration": 3}


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_the_mask_head_of_retinamask_gets_its_place(key: str, tmp_path: Path):
    theirs = {"mask.predictor.conv5_mask.bias": torch.ones(2), "rpn.head.mask.bias": torch.ones(3)}
    path = _save(tmp_path / "m.pth", {key: {f"module.{k}": v for k, v in theirs.items()}})
    file = read_weight_file(path, NAMES)
    assert not file.is_backbone
    assert set(file.tensors) == {"roi_heads.mask.predictor.conv5_mask.bias", "rpn.head.mask.bias"}


def test_a_checkpoint_of_another_detector_stays_one(tmp_path: Path):
    file = read_weight_file(_save(tmp_path / "m.pth", {"model": _model()}), ["other.weight"])
    assert file.kind == "a checkpoint"


def test_what_torch_saved_is_read_whatever_its_ending(tmp_path: Path):
    file = read_weight_file(_save(tmp_path / "model_final.pkl", {"model": _model()}), NAMES)
    assert tuple(file.tensors) == NAMES


def test_the_ending_tells_caffe2_and_8_bit_files(tmp_path: Path):
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"conv1_w": np.ones((1, 3, 7, 7), np.float32)}))
    assert read_weight_file(path, NAMES).kind == "a Caffe2 Detectron model"
    quantized = read_weight_file(ModelCatalog.get("quickstart/mobilenet_v2"), NAMES)
    assert quantized.is_backbone
    assert quantized.bn_eps == 0


def test_safetensors_are_read_like_state_dicts(tmp_path: Path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    path = tmp_path / "model.safetensors"
    save_file({"conv.weight": torch.ones(1), "fc.weight": torch.ones(1)}, path)
    file = read_weight_file(path, NAMES)
    assert file.is_backbone
    assert file.ignored == ("fc.weight",)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_weight_file(path, NAMES)


def test_a_missing_file_is_named_with_the_place_looked_at(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        read_weight_file("weights/m.pth", NAMES)
    assert str(tmp_path / "weights" / "m.pth") in str(error.value)
    with pytest.raises(CheckpointError, match="no such file"):
        read_weight_file(tmp_path, NAMES)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "torch 1.0"])
@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.02, 0.5, 0.999])
def test_a_truncated_file_names_itself_and_the_one_before(zipped, fraction, tmp_path: Path):
    path = _save(tmp_path / "model_0000020.pth", {"model": _model()}, zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    for iteration, time in ((0, 100), (10, 200)):
        other = _save(tmp_path / f"model_{iteration:07d}.pth", {"model": _model()})
        os.utime(other, (time, time))
    with pytest.raises(CheckpointError) as error:
        read_torch_file(path)
    assert f"{path}: damaged or incomplete" in str(error.value)
    assert "newest other checkpoint beside it is model_0000010.pth" in str(error.value)


def test_an_altered_byte_is_noticed(tmp_path: Path):
    """torch.load takes such a file as it is."""
    path = _save(tmp_path / "m.pth", {"model": _model()})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"check sum of .*data"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html><body>Not found", "a web page"),
        (b"\n <HTML>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"no weights at all", "damaged or incomplete"),
    ],
)
def test_what_is_no_weight_file_is_called_by_its_name(content, message, tmp_path: Path):
    path = tmp_path / "m.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_torch_file(path)


def test_a_zip_archive_of_something_else_is_damaged(tmp_path: Path):
    path = tmp_path / "m.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_torch_file(path)


class _Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "torch 1.0"])
def test_a_malicious_file_is_refused_and_not_run(zipped: bool, tmp_path: Path):
    marker = tmp_path / "was_run"
    path = _save(tmp_path / "m.pth", {"model": _model(), "x": _Malicious(marker)}, zipped)
    with pytest.raises(CheckpointError, match=r"m\.pth.*posix\.mkdir"):
        read_torch_file(path)
    assert not marker.exists()


def test_a_whole_pickled_module_is_refused_with_a_way_out(tmp_path: Path):
    path = _save(tmp_path / "m.pth", torch.nn.Linear(1, 1))
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected a dictionary, found a list"),
        ({"epoch": 3}, "no tensors in it, only epoch"),
        ({"model": {}}, "no tensors in it, only nothing"),
    ],
)
def test_a_file_without_tensors_is_refused(content: object, message: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match=message):
        read_weight_file(_save(tmp_path / "m.pth", content), NAMES)
