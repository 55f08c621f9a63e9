"""Deformable convolutions in ONNX against ours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from maskrcnn_benchmark.cli import main
from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.layers import DeformConv, DFConv2d, ModulatedDeformConv
from tests.export.random_models import PHOTO, save_random_model

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
parts = pytest.importorskip("maskrcnn_benchmark.export.parts")
refusals = pytest.importorskip("maskrcnn_benchmark.export.refusals")

GROUPS, TAPS = 2, 9
SMALL = ("INPUT.MIN_SIZE_TEST", 160, "INPUT.MAX_SIZE_TEST", 256)


class Backbone(nn.Module):
    """Both versions, the second with groups of both kinds and a stride."""

    def __init__(self):
        super().__init__()
        self.predict = nn.Conv2d(3, 2 * TAPS, 3, padding=1)
        self.first = DeformConv(3, 8, 3, padding=1)
        self.predict_again = nn.Conv2d(8, 3 * GROUPS * TAPS, 3, stride=2, padding=2, dilation=2)
        self.second = ModulatedDeformConv(
            8, 6, 3, stride=2, padding=2, dilation=2, groups=2, deformable_groups=GROUPS
        )

    def forward(self, images):
        maps = self.first(images, 4 * self.predict(images))
        places = self.predict_again(maps)
        offset, mask = places.split([2 * GROUPS * TAPS, GROUPS * TAPS], dim=1)
        return [self.second(maps, 3 * offset, mask.sigmoid())]


class Head(nn.Module):
    def forward(self, features):
        return ([each + 1 for each in features],)


def test_maps_are_ours_at_any_size():
    torch.manual_seed(0)
    model = SimpleNamespace(rpn=SimpleNamespace(head=Head()), backbone=Backbone())
    part = parts.DensePart(model)
    written = parts.write_dense_part(part, 16)
    session = onnxruntime.InferenceSession(
        written.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for sides in ((64, 48), (16, 32), (16, 16)):
        images = torch.randn(1, 3, *sides)
        found = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        with torch.no_grad():
            expected = part(images)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


@torch.no_grad()
def near_offsets(model):
    """Offsets of a few hundredths of a cell."""
    for layer in model.modules():
        if isinstance(layer, DFConv2d):
            layer.offset.weight *= 0.03


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--format", "onnx"], ["--format", "torch", "--dense", "--operators", "own"]]
)
def test_models_with_near_offsets_are_exported(words, tmp_path):
    path = tmp_path / "model.pth"
    save_random_model("centermask2-v39-dcn", path, *SMALL, change=near_offsets)
    assert main(["export", str(path), *words, "--photos", str(PHOTO)]) == 0


@pytest.mark.slow
def test_a_model_with_far_offsets_is_told_from_a_wrong_file(tmp_path, capsys):
    path = save_random_model("centermask2-v39-dcn", tmp_path / "model.pth", *SMALL)
    assert main(["export", str(path), "--photos", str(PHOTO)]) == 1
    assert "millionth" in capsys.readouterr().out


def test_formats_without_them_name_the_layer():
    with pytest.raises(ConfigError, match=r"first.*--format onnx.*--operators own"):
        refusals.check_layers(Backbone())
