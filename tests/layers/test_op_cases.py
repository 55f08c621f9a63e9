"""The table of op_cases on the CPU kernels and, with a device, on the CUDA kernels."""

import pytest
import torch

from maskrcnn_benchmark.layers import _ops, ops_status
from tests.layers.op_cases import (
    CASES,
    CUDA_CASES,
    CUDA_REFUSALS,
    REFUSALS,
    run_case,
    run_refusal,
)
from tests.layers.op_cases.case import DTYPES
from tests.layers.op_fuzz import names_of_arguments

needs_library = pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
on_a_device = pytest.mark.gpu
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


@needs_library
@dtypes
@pytest.mark.parametrize("case", CASES, ids=str)
def test_cpu_kernel_agrees_with_the_reference(case, dtype):
    run_case(case, "centermask", dtype)


@needs_library
@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_cpu_kernel_refuses_with_one_clean_message(refusal, capfd):
    run_refusal(refusal, "centermask")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_twin_refuses_and_names_the_argument(refusal):
    twin = next(each for each in _ops.OPERATORS if each.name == refusal.operator).reference
    named = "|".join(names_of_arguments(refusal.operator))
    with pytest.raises((ValueError, RuntimeError), match=rf"\b({named})\b.*: expected"):
        twin(*refusal.arguments())


@on_a_device
@dtypes
@pytest.mark.parametrize("case", CUDA_CASES, ids=str)
def test_cuda_kernel_agrees_with_the_reference(case, dtype):
    run_case(case, "centermask", dtype, "cuda")


@on_a_device
@pytest.mark.parametrize("refusal", CUDA_REFUSALS, ids=str)
def test_cuda_kernel_refuses(refusal):
    run_refusal(refusal, "centermask", "cuda")


@on_a_device
def test_cuda_kernels_are_there_and_serve_every_device():
    assert ops_status().cuda
    for index in range(torch.cuda.device_count()):
        case = next(case for case in CUDA_CASES if str(case) == "nms_keep-chain")
        run_case(case, "centermask", torch.float32, f"cuda:{index}")
