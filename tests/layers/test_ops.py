"""Registration of the operators: schemas, shape functions, derivatives, autocast, fallback."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import maskrcnn_benchmark
from maskrcnn_benchmark.layers import _ops, ops_status, roi_align, sigmoid_focal_loss
from maskrcnn_benchmark.layers._ops import library
from tests.layers.inputs import example_inputs, random_boxes, random_rois

ROOT = Path(__file__).parents[2]
OPS = torch.ops.centermask

needs_library = pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)


# The check itself reads .grad of tensors inside the graph.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("name", _ops.SCHEMAS)
def test_opcheck(name):
    for arguments in example_inputs()[name]:
        results = torch.library.opcheck(getattr(OPS, name).default, arguments)
        assert set(results.values()) == {"SUCCESS"}


def test_schemas_in_the_sources_are_the_same():
    source = (ROOT / "csrc" / "library.cpp").read_text()
    definitions = re.findall(r'm\.def\(\s*((?:"[^"]*"\s*)+)\)', source)
    texts = {"".join(re.findall(r'"([^"]*)"', definition)) for definition in definitions}
    assert texts == {name + schema for name, schema in _ops.SCHEMAS.items()}


def test_registered_schemas_are_the_same():
    assert library.schema_differences(_ops.SCHEMAS) == []


@needs_library
def test_compiled_kernels_serve_the_cpu():
    for name in _ops.SCHEMAS:
        # Where the processor has no instructions for it, its twin is all there is.
        is_there = torch._C._dispatch_has_kernel_for_dispatch_key(f"centermask::{name}", "CPU")
        assert is_there or name.endswith("_int16")


def test_other_devices_fall_back_to_the_reference():
    meta = OPS.roi_align(
        torch.empty(1, 3, 9, 9, device="meta"), torch.empty(4, 5, device="meta"), 1.0, 7, 7, 2
    )
    assert meta.shape == (4, 3, 7, 7)
    for name in _ops.SCHEMAS:
        key = "CompositeExplicitAutograd"
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"centermask::{name}", key)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_float32(dtype):
    features, rois = random_rois(dtype=torch.float32)
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, -1])
    expected = roi_align(features, rois, 3, 0.25, 2), sigmoid_focal_loss(logits, targets, 2.0, 0.25)
    with torch.autocast("cpu", dtype):
        pooled = OPS.roi_align(features.to(dtype), rois, 0.25, 3, 3, 2)
        loss = OPS.sigmoid_focal_loss(logits.to(dtype), targets, 2.0, 0.25)
    assert pooled.dtype == loss.dtype == torch.float32
    tolerance = {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(pooled, expected[0], **tolerance)
    torch.testing.assert_close(loss, expected[1], **tolerance)


@needs_library
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nms_keep", (torch.zeros(3, 5), None, 0.5), r"boxes: .*\[ \* 4 \], got \(3, 5\)"),
        ("nms_keep", (torch.zeros(3, 4).half(), None, 0.5), r"boxes: .*float64, got Half"),
        ("nms_keep", (torch.zeros(3, 4), torch.zeros(3), 0.5), r"labels: .*Long, got Float"),
        ("nms_keep", (torch.zeros(3, 4), torch.zeros(2).long(), 0.5), r"labels: .*got \(2\)"),
        ("roi_align", (torch.zeros(1, 1, 2), torch.zeros(0, 5), 1.0, 2, 2, 2), r"input: .*got"),
        ("roi_align", (torch.zeros(1, 1, 2, 2), torch.zeros(1, 4), 1.0, 2, 2, 2), r"rois: .*got"),
        (
            "roi_align",
            (torch.zeros(1, 1, 2, 2), torch.zeros(1, 5).double(), 1.0, 2, 2, 2),
            r"rois: expected Float, got Double",
        ),
        (
            "roi_align",
            (torch.zeros(1, 1, 0, 2), torch.zeros(1, 5), 1.0, 2, 2, 2),
            r"empty feature map",
        ),
        (
            "roi_align",
            (torch.zeros(1, 1, 2, 2), torch.zeros(1, 5), 1.0, 0, 2, 2),
            r"positive sides, got 0 x 2",
        ),
        (
            "roi_align_backward",
            (torch.zeros(2, 1, 2, 2), torch.zeros(1, 5), 1.0, 1, 1, 4, 4, 2),
            r"grad: .*\[ 1 1 \* \* \], got \(2, 1, 2, 2\)",
        ),
        (
            "sigmoid_focal_loss",
            (torch.zeros(2, 3), torch.zeros(3).long(), 2.0, 0.25),
            r"targets: .*got \(3\)",
        ),
        (
            "sigmoid_focal_loss_backward",
            (torch.zeros(2, 2), torch.zeros(2, 3), torch.zeros(2).long(), 2.0, 0.25),
            r"grad: .*\[ 2 3 \], got \(2, 2\)",
        ),
    ],
)
def test_kernels_refuse_with_one_clean_message(name, arguments, message, capfd):
    with pytest.raises(RuntimeError, match=message) as caught:
        getattr(OPS, name)(*arguments)
    assert capfd.readouterr() == ("", "")
    # The source file that follows is named without the folder that it was compiled in.
    assert "/" not in str(caught.value)


@needs_library
def test_library_of_other_sources_is_refused(monkeypatch):
    monkeypatch.delenv(library.OPS_VARIABLE, raising=False)
    with pytest.raises(ImportError, match=r"nms_keep.*build_ext"):
        library.load_library({"nms_keep": "(Tensor boxes) -> Tensor"})


def run_python(code, folder, **environment):
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_without_the_library_one_warning_and_the_same_operators(tmp_path):
    source = Path(maskrcnn_benchmark.__file__).parent
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for part in ("layers", "structures"):
        shutil.copytree(source / part, tmp_path / source.name / part, ignore=ignore)
    # They paste masks as the runtime does.
    shutil.copytree(ROOT / "centermask_runtime", tmp_path / "centermask_runtime", ignore=ignore)
    (tmp_path / source.name / "__init__.py").touch()
    code = (
        "import torch, maskrcnn_benchmark.layers as layers\n"
        "boxes = torch.tensor([[0., 0, 9, 9], [0, 0, 9, 8]])\n"
        "kept = layers.nms(boxes, torch.tensor([.9, .8]), .5)\n"
        "print(kept.tolist(), layers.ops_status().compiled)\n"
        "x = torch.ones(1, 1, 4, 4, requires_grad=True)\n"
        "layers.roi_align(x, torch.tensor([[0., 0, 0, 3, 3]]), 2, 1.0, 2).sum().backward()\n"
        "print(x.grad.sum().item())\n"
    )
    done = run_python(code, tmp_path, **{library.OPS_VARIABLE: ""})
    assert done.stdout.split("\n")[:2] == ["[0] False", "4.0"]
    assert done.stderr.count("Warning") == 1
    assert "python setup.py build_ext --inplace" in done.stderr


@needs_library
def test_reference_can_be_asked_for():
    code = "import maskrcnn_benchmark.layers as layers; print(layers.ops_status().reason)"
    done = run_python(code, ROOT, **{library.OPS_VARIABLE: "reference"})
    assert "CENTERMASK_OPS=reference" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiles_without_graph_breaks():
    def pooled_kept(features, boxes, scores):
        order = scores.argsort(descending=True, stable=True)
        keep = OPS.nms_keep(boxes[order], None, 0.5)
        rois = torch.cat((boxes.new_zeros(len(boxes), 1), boxes[order]), dim=1)
        pooled = OPS.roi_align(features, rois, 0.25, 7, 7, 2)
        return (pooled.flatten(1).sum(1) * keep).sum()

    compiled = torch.compile(pooled_kept, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (5, 9):
        boxes, scores, _ = random_boxes(count)
        gradients = []
        for function in (pooled_kept, compiled):
            features = torch.ones(1, 4, 30, 40, requires_grad=True)
            function(features, boxes, scores).backward()
            gradients.append(features.grad)
        torch.testing.assert_close(*gradients)
