"""Calls of any shape and value: kernels of the younger operators against their twins."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layers.op_cases import deform_conv, deform_psroi_pooling, roi_pool
from tests.layers.twins import TWINS

OPS = torch.ops.centermask
SPECIAL = (float("nan"), float("inf"), -float("inf"), 0.5, -0.5, 1e30, -0.0, 2.0**31)
anything = settings(max_examples=40, deadline=None, database=None, derandomize=True)


def up_to(most, least=1):
    return st.integers(least, most)


specials = st.lists(st.tuples(up_to(999, 0), st.sampled_from(SPECIAL)), max_size=6)


def with_specials(tensor, replaced):
    """The tensor with a few numbers that rarely come by chance."""
    flat = tensor.clone().flatten()
    for place, value in replaced:
        if len(flat):
            flat[place % len(flat)] = value
    return flat.view(tensor.shape)


def agree(name, arguments, dtype=torch.float64):
    """Same results of the operator in use and its twin, forward and backward."""
    result = getattr(OPS, name)(*arguments)
    expected = getattr(TWINS, name)(*arguments)
    close = {"rtol": 1e-9, "atol": 1e-9, "equal_nan": True}
    torch.testing.assert_close(result, expected, **close)
    first = result[0] if isinstance(result, tuple) else result
    return torch.arange(first.numel(), dtype=dtype).cos().view(first.shape), close


@anything
@given(st.data())
def test_any_deformable_convolution(data):
    draw = data.draw
    groups, parts = draw(up_to(3)), draw(up_to(3))
    kernel, dilation = (draw(up_to(3)), draw(up_to(3))), [draw(up_to(2)), draw(up_to(2))]
    room = [dilation[i] * (kernel[i] - 1) for i in range(2)]
    arguments = deform_conv.call(
        torch.float64,
        images=draw(up_to(2, 0)),
        channels=groups * parts * draw(up_to(7)),
        outputs=groups * draw(up_to(3, 0)),
        hw=(room[0] + draw(up_to(6)), room[1] + draw(up_to(6))),
        kernel=kernel,
        groups=groups,
        parts=parts,
        modulated=draw(st.booleans()),
        geometry=(
            [draw(up_to(3)), draw(up_to(3))],
            [draw(up_to(2, 0)), draw(up_to(2, 0))],
            dilation,
        ),
    )
    arguments = arguments._replace(offset=with_specials(arguments.offset, draw(specials)))
    grad, close = agree("deform_conv", arguments)
    results = OPS.deform_conv_backward(grad, *arguments)
    torch.testing.assert_close(results, TWINS.deform_conv_backward(grad, *arguments), **close)


@anything
@given(st.data())
def test_any_roi_pooling(data):
    draw = data.draw
    hw = draw(up_to(9)), draw(up_to(9))
    boxes = roi_pool.random_rois(draw(up_to(6, 0)), torch.float64)
    boxes[:, 1:] = with_specials(boxes[:, 1:], draw(specials))
    maps = roi_pool.features(torch.float64, draw(up_to(70, 0)), hw=hw)
    arguments = roi_pool.Call(
        with_specials(maps, draw(specials)),
        boxes,
        draw(st.sampled_from((0.1, 0.25, 1.0, 3.0))),
        draw(up_to(8)),
        draw(up_to(8)),
    )
    grad, close = agree("roi_pool", arguments)
    cells = OPS.roi_pool(*arguments)[1]
    results = OPS.roi_pool_backward(grad, boxes, cells, 2, *hw)
    torch.testing.assert_close(
        results, TWINS.roi_pool_backward(grad, boxes, cells, 2, *hw), **close
    )


@anything
@given(st.data())
def test_any_deformable_roi_pooling(data):
    draw = data.draw
    classes = draw(up_to(3))
    arguments = deform_psroi_pooling.call(
        torch.float64,
        draw(up_to(5, 0)),
        classes=classes,
        moved=draw(st.booleans()),
        hw=(draw(up_to(9)), draw(up_to(9))),
        spatial_scale=draw(st.sampled_from((0.1, 0.25, 1.0, 3.0))),
        output_channels=classes * draw(up_to(3)),
        pooled_size=draw(up_to(5)),
        group_size=draw(up_to(3)),
        part_size=draw(up_to(5)),
        samples_per_part=draw(up_to(4)),
        offset_scale=draw(st.sampled_from((0.0, 0.1, 1.0, -2.0))),
    )
    boxes = arguments.rois.clone()
    boxes[:, 1:] = with_specials(boxes[:, 1:], draw(specials))
    arguments = arguments._replace(rois=boxes)
    if arguments.offset is not None:
        arguments = arguments._replace(offset=with_specials(arguments.offset, draw(specials)))
    grad, close = agree("deform_psroi_pooling", arguments)
    results = OPS.deform_psroi_pooling_backward(grad, *arguments)
    expected = TWINS.deform_psroi_pooling_backward(grad, *arguments)
    torch.testing.assert_close(results, expected, **close)
