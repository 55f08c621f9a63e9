import pytest
import torch

from maskrcnn_benchmark.layers import (
    DeformConv,
    DFConv2d,
    ModulatedDeformConv,
    ModulatedDeformConvPack,
    deform_conv,
    modulated_deform_conv,
)


def names_and_shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def test_modules_are_the_functions():
    features, offset = torch.randn(1, 4, 5, 6), torch.randn(1, 36, 3, 3)
    mask = torch.rand(1, 18, 3, 3)
    geometry = {"stride": 2, "padding": 1, "groups": 2, "deformable_groups": 2}
    plain = DeformConv(4, 6, 3, **geometry)
    expected = deform_conv(features, offset, plain.weight, **geometry)
    assert torch.equal(plain(features, offset), expected)
    modulated = ModulatedDeformConv(4, 6, 3, **geometry)
    torch.nn.init.ones_(modulated.bias)
    expected = modulated_deform_conv(
        features, offset, mask, modulated.weight, modulated.bias, **geometry
    )
    assert torch.equal(modulated(features, offset, mask), expected)
    assert repr(plain) == (
        "DeformConv(in_channels=4, out_channels=6, kernel_size=(3, 3), stride=(2, 2), "
        "padding=(1, 1), dilation=(1, 1), groups=2, deformable_groups=2, bias=False)"
    )


def test_parameter_names_are_those_of_old_checkpoints():
    assert names_and_shapes(DeformConv(4, 6, 3)) == {"weight": (6, 4, 3, 3)}
    assert names_and_shapes(ModulatedDeformConvPack(4, 6, 3, deformable_groups=2)) == {
        "weight": (6, 4, 3, 3),
        "bias": (6,),
        "conv_offset_mask.weight": (54, 4, 3, 3),
        "conv_offset_mask.bias": (54,),
    }
    # As in the original's model centermask_V_39_eSE_dconv_FPN_1x.
    assert names_and_shapes(DFConv2d(768, 224)) == {
        "offset.weight": (27, 768, 3, 3),
        "offset.bias": (27,),
        "conv.weight": (224, 768, 3, 3),
    }
    assert names_and_shapes(DFConv2d(4, 6, with_modulated_dcn=False, deformable_groups=2)) == {
        "offset.weight": (36, 4, 3, 3),
        "offset.bias": (36,),
        "conv.weight": (6, 4, 3, 3),
    }


def test_pack_starts_as_half_a_convolution():
    pack = ModulatedDeformConvPack(3, 5, 3, padding=2, dilation=2, deformable_groups=3)
    features = torch.randn(2, 3, 6, 7)
    expected = torch.nn.functional.conv2d(features, pack.weight / 2, padding=2, dilation=2)
    torch.testing.assert_close(pack(features), expected, rtol=1e-4, atol=1e-5)


def test_predicted_offsets_come_before_the_modulation():
    layer = DFConv2d(2, 3, stride=2)
    features = torch.randn(1, 2, 6, 6)
    predicted = layer.offset(features)
    expected = modulated_deform_conv(
        features,
        predicted[:, :18],
        predicted[:, 18:].sigmoid(),
        layer.conv.weight,
        stride=2,
        padding=1,
    )
    assert torch.equal(layer(features), expected)
    plain = DFConv2d(2, 3, with_modulated_dcn=False, kernel_size=(1, 5), dilation=2)
    expected = deform_conv(
        features, plain.offset(features), plain.conv.weight, padding=(0, 4), dilation=2
    )
    assert torch.equal(plain(features), expected)
    assert expected.shape == (1, 3, 6, 6)


def test_offsets_are_not_zero_at_the_start():
    layer = DFConv2d(8, 4)
    bound = (3 / (8 * 9)) ** 0.5
    assert 0.9 * bound < layer.offset.weight.abs().max() <= bound
    assert not layer.offset.bias.any()


def test_every_parameter_learns():
    for layer in (DFConv2d(4, 4), DFConv2d(4, 4, with_modulated_dcn=False, groups=2)):
        layer(torch.randn(1, 4, 5, 5)).square().sum().backward()
        assert all(parameter.grad.any() for parameter in layer.parameters())


def test_no_images():
    layer = DFConv2d(4, 6, stride=2)
    output = layer(torch.zeros(0, 4, 7, 7))
    assert output.shape == (0, 6, 4, 4)
    output.sum().backward()
    assert not layer.conv.weight.grad.any()


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"^bias: "):
        DeformConv(4, 4, 3, bias=True)
    with pytest.raises(ValueError, match=r"groups: .*got 3"):
        ModulatedDeformConv(4, 6, 3, groups=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda: ModulatedDeformConvPack(4, 6, 3, padding=1),
        lambda: ModulatedDeformConvPack(4, 6, 3, padding=1, groups=2, bias=False),
        lambda: DFConv2d(4, 6),
        lambda: DFConv2d(4, 6, bias=True, stride=2),
        lambda: DFConv2d(4, 6, with_modulated_dcn=False, deformable_groups=2),
    ],
)
def test_what_scales_and_shifts_the_output_can_be_worked_into_a_layer(make, dtype):
    layer, scale, shift = make().to(dtype), *torch.randn(2, 6, dtype=dtype)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    names = sorted(layer.state_dict())
    x = torch.randn(2, 4, 7, 8, dtype=dtype)
    with torch.no_grad():
        before = layer(x)
        expected = before * scale[:, None, None] + shift[:, None, None]
        torch.testing.assert_close(layer.rescaled(scale, shift)(x), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(layer(x), before)
    assert sorted(layer.state_dict()) == names


def test_a_layer_without_bias_stays_so_when_a_copy_gets_one():
    layer = DeformConv(2, 3, 3, padding=1)
    x, offset = torch.randn(1, 2, 5, 5), torch.randn(1, 18, 5, 5)
    twin = layer.rescaled(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]))
    assert twin(x, offset)[0, :, 0, 0].tolist() == [1, 2, 3]
    assert layer.bias is None
    assert not any(parameter.requires_grad for parameter in twin.parameters())
