"""The operators behind ``deform_conv``: compiled kernels against their plain PyTorch twins."""

import pytest
import torch

from maskrcnn_benchmark.layers import modulated_deform_conv
from tests.layers.inputs import GEOMETRY, random_deformation
from tests.layers.twins import TWINS

OPS = torch.ops.centermask
SETTINGS = tuple(GEOMETRY.values())


# Channels around the vectors that the kernels work in (16 floats or 8 doubles, and 4 times).
@pytest.mark.parametrize(
    ("channels", "groups", "deformable_groups"),
    [(1, 1, 1), (17, 1, 1), (64, 1, 2), (72, 2, 3), (72, 3, 2), (80, 1, 1), (32, 8, 1)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("modulated", [True, False])
def test_kernel_agrees_with_reference(channels, groups, deformable_groups, dtype, modulated):
    case = random_deformation(
        channels=channels,
        outputs=2 * groups,
        groups=groups,
        deformable_groups=deformable_groups,
    )
    features, offset, mask, weight = (x.to(dtype) for x in case)
    arguments = (features, offset, mask if modulated else None, weight, *SETTINGS)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    output = OPS.deform_conv(*arguments)
    torch.testing.assert_close(output, TWINS.deform_conv(*arguments), **tolerance)
    grad = torch.arange(output.numel(), dtype=dtype).cos().view_as(output)
    results = OPS.deform_conv_backward(grad, *arguments)
    expected = TWINS.deform_conv_backward(grad, *arguments)
    for ours, reference in zip(results, expected, strict=True):
        torch.testing.assert_close(ours, reference, **tolerance)


def test_many_locations_are_done_in_pieces():
    generator = torch.Generator().manual_seed(0)
    # 1600 locations of 64 channels and 9 taps: more columns than are made at a time.
    features = torch.randn(1, 64, 40, 40, generator=generator)
    offset = torch.randn(1, 18, 40, 40, generator=generator)
    weight = torch.randn(8, 64, 3, 3, generator=generator) / 24
    arguments = (features, offset, None, weight, [1, 1], [1, 1], [1, 1])
    output = OPS.deform_conv(*arguments)
    torch.testing.assert_close(output, TWINS.deform_conv(*arguments), rtol=1e-4, atol=1e-5)
    grad = output.sign()
    for ours, reference in zip(
        OPS.deform_conv_backward(grad, *arguments),
        TWINS.deform_conv_backward(grad, *arguments),
        strict=True,
    ):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    "rearranged",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: torch.cat((x, x), dim=3)[..., : x.shape[3]],
        lambda x: torch.stack((x, x), dim=1)[:, 0],
    ],
    ids=["channels_last", "transposed", "slice", "every other image"],
)
def test_memory_layout_changes_nothing(rearranged):
    case = [x.float() for x in random_deformation(channels=16)]
    expected = modulated_deform_conv(*case, **GEOMETRY)
    output = modulated_deform_conv(*(rearranged(x) for x in case), **GEOMETRY)
    assert output.is_contiguous()
    assert torch.equal(output, expected)
    grad = expected.cos()
    arguments = (*case, *SETTINGS)
    results = OPS.deform_conv_backward(rearranged(grad), *map(rearranged, case), *SETTINGS)
    for ours, reference in zip(results, OPS.deform_conv_backward(grad, *arguments), strict=True):
        assert torch.equal(ours, reference)


def test_thread_count_changes_no_bit_of_the_gradient_of_the_places():
    # Products of matrices may be summed in another order; one output and one tap leave none.
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 128, 20, 20, generator=generator)
    offset = torch.randn(1, 2, 20, 20, generator=generator)
    arguments = (features, offset, None, torch.ones(1, 128, 1, 1), [1, 1], [0, 0], [1, 1])
    grad = torch.randn(1, 1, 20, 20, generator=generator)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            results.append(OPS.deform_conv_backward(grad, *arguments)[:2])
    finally:
        torch.set_num_threads(threads)
    for ours in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ours, results[0], strict=True))


@pytest.mark.parametrize("function", [OPS.deform_conv, TWINS.deform_conv])
def test_cells_outside_are_not_read(function):
    features = torch.full((1, 1, 3, 3), torch.inf)
    features[0, 0, 1, 1] = 2.0
    # From the middle, half a cell beyond the map on every side; and out of it altogether.
    offset = torch.tensor([[-1.5, -1.5], [-3.0, 0.0], [0.0, 2.0]])
    results = [
        function(
            features[..., 1:2, 1:2],
            shift.view(1, 2, 1, 1),
            None,
            torch.ones(1, 1, 1, 1),
            [1, 1],
            [0, 0],
            [1, 1],
        ).item()
        for shift in offset / 3
    ]
    assert results == [0.5, 0.0, pytest.approx(2 / 3)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiles_and_exports():
    def model(features, offset, mask, weight):
        return modulated_deform_conv(features, offset, mask, weight, padding=1).square().sum()

    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for side in (5, 8):
        shapes = (1, 4, side, side), (1, 18, side, side), (1, 9, side, side), (2, 4, 3, 3)
        case = [torch.randn(shape, requires_grad=True) for shape in shapes]
        expected = torch.autograd.grad(model(*case), case)
        for ours, theirs in zip(torch.autograd.grad(compiled(*case), case), expected, strict=True):
            torch.testing.assert_close(ours, theirs)

    class Module(torch.nn.Module):
        def forward(self, features, offset, mask, weight):
            return modulated_deform_conv(features, offset, mask, weight, padding=1)

    sizes = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    shapes = (3, 4, 8, 7), (3, 18, 8, 7), (3, 9, 8, 7), (2, 4, 3, 3)
    case = [torch.randn(shape) for shape in shapes]
    program = torch.export.export(Module(), tuple(case), dynamic_shapes=(sizes, sizes, sizes, None))
    shapes = (2, 4, 6, 9), (2, 18, 6, 9), (2, 9, 6, 9), (2, 4, 3, 3)
    case = [torch.randn(shape) for shape in shapes]
    torch.testing.assert_close(program.module()(*case), Module()(*case))
