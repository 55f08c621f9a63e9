"""The CUDA kernels, run on the CPU, against the table of op_cases and what else it cannot say."""

import pytest
import torch

from maskrcnn_benchmark.layers import _ops, ops_status
from tests.emu.build import CSRC, VARIANTS, build, can_compile
from tests.emu.emulation import ORDERS, running
from tests.layers.op_cases import (
    CASES,
    CUDA_CASES,
    CUDA_REFUSALS,
    EMULATED,
    run_case,
    run_refusal,
)
from tests.layers.op_cases.case import DTYPES
from tests.layers.op_cases.nms import random_boxes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_compile(), reason="no C++ compiler to emulate CUDA with"),
]
EMU = VARIANTS["emu"]
COMMON = [case for case in CUDA_CASES if case in CASES]
OPS = getattr(torch.ops, EMU.namespace)


@pytest.fixture(scope="module")
def library():
    """The CUDA sources, compiled once."""
    return build(EMU)


orders = pytest.mark.parametrize("order", ORDERS, ids=[order.name for order in ORDERS])


@orders
@pytest.mark.parametrize("case", CUDA_CASES, ids=str)
def test_agrees_with_the_reference(library, case, order):
    with running(library, order):
        for dtype in DTYPES:
            run_case(case, EMU.namespace, dtype)


@pytest.mark.parametrize("refusal", CUDA_REFUSALS, ids=str)
def test_refuses_with_one_clean_message(library, refusal, capfd):
    with running(library):
        run_refusal(refusal, EMU.namespace)
    assert capfd.readouterr() == ("", "")


def test_every_source_has_cases(library):
    assert set(EMULATED) == {path.stem for path in CSRC.rglob("*.cu")}
    with running(library):
        served = {
            operator.name
            for operator in _ops.OPERATORS
            if torch._C._dispatch_has_kernel_for_dispatch_key(
                f"{EMU.namespace}::{operator.name}", "CPU"
            )
        }
    assert served <= {case.operator for case in CUDA_CASES}


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@pytest.mark.parametrize("case", COMMON, ids=str)
def test_agrees_with_the_cpu_kernel(library, case):
    with running(library, ORDERS[2]):
        for dtype in DTYPES:
            arguments = case.arguments(dtype)
            results = [
                getattr(getattr(torch.ops, each), case.operator)(*arguments)
                for each in (EMU.namespace, "centermask")
            ]
            bound = case.tolerance * torch.finfo(dtype).eps
            torch.testing.assert_close(*results, rtol=bound, atol=bound, equal_nan=True)


@pytest.mark.parametrize("count", [64, 200, 1000])
def test_keeps_what_torchvision_keeps(library, count):
    torchvision = pytest.importorskip("torchvision")
    boxes = random_boxes(count, torch.float32, 200.0).round()
    with running(library, ORDERS[2]):
        keep = OPS.nms_keep(boxes, None, 0.5)
    # Its corners are edges: our box from x1 to x2 is its box from x1 to x2 + 1.
    edges = boxes + torch.tensor([0.0, 0, 1, 1])
    expected = torchvision.ops.nms(edges, torch.arange(count, 0, -1.0), 0.5)
    assert torch.equal(keep.nonzero().squeeze(1), expected)


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pools_what_torchvision_pools(library, ratio, dtype):
    torchvision = pytest.importorskip("torchvision")
    case = next(case for case in CUDA_CASES if str(case) == "roi_align-23-rois")
    features, rois, *_ = case.arguments(dtype)
    with running(library, ORDERS[2]):
        pooled = OPS.roi_align(features, rois, 0.25, 7, 5, ratio)
    expected = torchvision.ops.roi_align(features, rois, (7, 5), 0.25, ratio, aligned=False)
    bound = 64 * torch.finfo(dtype).eps
    torch.testing.assert_close(pooled, expected, rtol=bound, atol=bound)
