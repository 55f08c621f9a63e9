"""Fused layers and our operators in programs of PyTorch."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.modes.fused_layers import (
    Activation,
    FoldedConv,
    FusedConv2d,
    FusedGroupNorm,
    WinogradConv2d,
)
from maskrcnn_benchmark.export.formats import EXPORT_FORMATS, check_operators
from maskrcnn_benchmark.layers import ops_status

pytest.importorskip("onnxscript")
torch_program = pytest.importorskip("maskrcnn_benchmark.export.torch_program")
own_operators = pytest.importorskip("maskrcnn_benchmark.export.own_operators")
parts = pytest.importorskip("maskrcnn_benchmark.export.parts")

TYPES = (torch.float32, torch.bfloat16)


def fused(conv, activation, dtype, **options):
    return FusedConv2d(FoldedConv.of(conv), activation=activation, dtype=dtype, **options)


class Part(nn.Module):
    """Every kind of convolution, one of them twice, and a norm."""

    def __init__(self, dtype):
        super().__init__()
        self.stem = fused(nn.Conv2d(3, 8, 3, 2, 1), Activation.RELU6, dtype)
        self.deep = fused(nn.Conv2d(8, 8, 3, 1, 1, groups=8), Activation.RELU, dtype)
        self.flat = fused(nn.Conv2d(8, 8, 1), Activation.NONE, dtype, overwrites=True)
        conv = FoldedConv.of(nn.Conv2d(8, 16, 3, padding=1))
        self.few = WinogradConv2d(conv, activation=Activation.RELU, dtype=dtype)
        self.norm = FusedGroupNorm(nn.GroupNorm(4, 16))
        self.last = fused(nn.Conv2d(16, 16, 1), Activation.RELU, dtype)

    def forward(self, images):
        maps = self.stem(images)
        maps = self.flat(self.deep(maps), 1 * maps)
        maps = self.few(self.flat(maps))
        return self.last(self.norm(maps), maps).float()


def part_and_program(dtype):
    torch.manual_seed(0)
    part = Part(dtype).eval().requires_grad_(False)
    sides = {axis: 4 * torch.export.Dim(f"side_{axis}", min=2) for axis in (2, 3)}
    with own_operators.plain_weights(part), own_operators.traceable_sums(), torch.no_grad():
        program = torch.export.export(part, (torch.rand(1, 3, 32, 24),), dynamic_shapes=(sides,))
    return part, program


@pytest.mark.parametrize("dtype", TYPES)
def test_programs_compute_what_the_layers_compute(dtype, tmp_path):
    if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("no bfloat16 on this processor")
    part, program = part_and_program(dtype)
    torch_program.save(program, tmp_path / "part.pt2", {})
    run = torch.export.load(tmp_path / "part.pt2").module()
    for sides in ((32, 24), (48, 64), (8, 8)):
        images = torch.rand(1, 3, *sides)
        torch.testing.assert_close(run(images), part(images), atol=1e-5, rtol=1e-5)
    # The part has its own weights again.
    assert all(isinstance(part.get_submodule(name), FusedConv2d) for name in ("stem", "last"))


def test_the_library_alone_is_enough(tmp_path):
    library = ops_status().library
    if library is None:
        pytest.skip("nothing is compiled")
    part, program = part_and_program(torch.float32)
    images = torch.rand(1, 3, 16, 20)
    torch_program.save(program, tmp_path / "part.pt2", {})
    torch.save((images, part(images)), tmp_path / "tensors.pt")
    code = (
        "import sys, torch\n"
        f"torch.ops.load_library({library!r})\n"
        "images, expected = torch.load('tensors.pt')\n"
        "found = torch.export.load('part.pt2').module()(images)\n"
        "torch.testing.assert_close(found, expected)\n"
        "assert 'maskrcnn_benchmark' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)


def test_images_of_any_sides_beyond_a_cell_are_taken():
    part = nn.Sequential(nn.Conv2d(3, 2, 3, 4, 1), nn.Conv2d(2, 2, 3, 4, 1)).eval()
    run = parts.trace_dense_part(OneMap(part), 0, None, 16).module()
    for sides in ((17, 17), (40, 99)):
        images = torch.rand(1, 3, *sides)
        torch.testing.assert_close(run(images)[0], part(images))


class OneMap(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, images):
        return (self.part(images),)


@pytest.mark.parametrize(
    ("name", "format_name", "word"), [("own", "onnx", "torch"), ("any", "torch", "standard")]
)
def test_operators_that_are_refused_say_why(name, format_name, word):
    with pytest.raises(ConfigError, match=word):
        check_operators(name, EXPORT_FORMATS[format_name])
