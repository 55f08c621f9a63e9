"""The same bits on every processor: kernels built for one x86-64 level at a time.

The shipped library holds several levels and the loader picks one; what it picks cannot be changed
from outside. So each level is built on its own, as far as this processor can run it.
"""

import platform

import pytest
import torch
from torch.utils._pytree import tree_leaves

from maskrcnn_benchmark.layers import ops_status
from tests.emu.build import Variant, build, can_compile
from tests.layers.op_cases import CASES
from tests.layers.op_cases.case import seeded

LEVELS = {"x86-64-v2": "DEFAULT", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512"}
"""Level -> the least of torch's names for a processor that can run it."""
CAPABILITIES = ("DEFAULT", "AVX2", "AVX512")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.machine() != "x86_64" or not can_compile() or not ops_status().compiled,
        reason="needs an x86-64 processor, a compiler and the compiled library",
    ),
]


def operators(level):
    """The operators built for a level; skips what this processor cannot run."""
    here = torch.backends.cpu.get_cpu_capability()
    if CAPABILITIES.index(LEVELS[level]) > CAPABILITIES.index(here):
        pytest.skip(f"this processor ({here}) cannot run {level}")
    namespace = f"centermask_{level.replace('-', '_')}"
    # As csrc/ is compiled for users, but for the level.
    flags = ("-O3", "-g0", "-fno-trapping-math", "-fno-math-errno")
    variant = Variant(namespace, False, (*flags, f"-march={level}", "-DCM_TARGET_CLONES="))
    torch.ops.load_library(build(variant))
    return getattr(torch.ops, namespace)


def large_calls():
    """Calls long enough for every vector loop and its remainder."""
    numbers = torch.rand(1, 83, 41, 57, generator=seeded(0))
    corners = torch.rand(70, 2, 2, generator=seeded(1)) * torch.tensor([400.0, 300.0])
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    rois = torch.cat([torch.zeros(70, 1), boxes], dim=1)
    pooled = torch.rand(70, 83, 7, 7, generator=seeded(2))
    logits = torch.randn(500, 80, generator=seeded(3)) * 6 - 3
    targets = torch.randint(-1, 81, (500,), generator=seeded(4))
    masks = torch.rand(70, 28, 28, generator=seeded(5))
    scales, shifts = torch.rand(2, 83, generator=seeded(6))
    norms = [
        (maps.contiguous(memory_format=layout), 1, scales, shifts, 1e-5)
        for maps in (numbers, numbers.bfloat16())
        for layout in (torch.channels_last, torch.contiguous_format)
    ]
    return [
        *(("group_norm_relu", arguments) for arguments in norms),
        ("nms_keep", (boxes.repeat(20, 1) + torch.arange(1400)[:, None], None, 0.5)),
        ("paste_masks_rle", (masks, boxes, 300, 400, 0.5, 1)),
        ("roi_align", (numbers, rois, 1 / 8, 7, 7, 2)),
        ("roi_align_backward", (pooled, rois, 1 / 8, *numbers.shape, 0)),
        *(("scores_above", (8 * x - 6, 83, 0.05)) for x in (numbers, norms[0][0])),
        ("sigmoid_focal_loss", (logits, targets, 2.0, 0.25)),
        ("sigmoid_focal_loss", (logits, targets, 1.5, 0.25)),
        ("sigmoid_focal_loss_sum", (logits, targets, 2.0, 0.25)),
        ("sigmoid_focal_loss_sum", (logits, targets, 1.5, 0.25)),
    ]


# Their sums are contracted where the processor can: the same only up to rounding.
ROUNDED = {
    "conv_tower": 1e-3,
    "inverted_residual": 3e-5,
    "inverted_residual_int16": 1e-3,
    "winograd_conv3x3": 3e-5,
    "winograd_conv3x3_int16": 1e-3,
    "pointwise_conv_int16": 1e-3,
    "winograd_conv3x3_weight_grad": 3e-5,
    "winograd_pack": 1e-6,
}


def bits(result):
    """Results as whole numbers, so that zeros keep their signs and NaN, whatever its, is equal."""
    as_integers = {
        torch.bfloat16: torch.int16,
        torch.float32: torch.int32,
        torch.float64: torch.int64,
    }
    return [
        torch.where(each.isnan(), torch.nan, each).view(as_integers[each.dtype])
        if each.dtype in as_integers
        else each
        for each in tree_leaves(result)
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_computes_the_same_bits(level):
    built = operators(level)
    calls = large_calls() + [
        (case.operator, case.arguments(dtype))
        for case in CASES
        for dtype in (torch.float32, torch.float64)
    ]
    different = []
    for number, (name, arguments) in enumerate(calls):
        shipped = getattr(torch.ops.centermask, name)(*arguments)
        alone = getattr(built, name)(*arguments)
        if name in ROUNDED:
            tolerance = {"rtol": 2**-7, "atol": ROUNDED[name]}
            torch.testing.assert_close(alone, shipped, equal_nan=True, **tolerance)
        elif not all(map(torch.equal, bits(shipped), bits(alone))):
            different.append((number, name))
    assert not different
