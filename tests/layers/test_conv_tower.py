import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.layers import (
    TowerConv,
    conv_tower,
    group_norm_relu,
    ops_status,
    pack_conv_tower,
    pack_winograd_weight,
    pack_winograd_weight_int16,
    winograd_conv3x3,
    winograd_conv3x3_int16,
)
from tests.layers.inputs import implementations
from tests.layers.op_cases.case import seeded
from tests.layers.op_cases.conv_tower import parts

KERNELS = implementations("conv_tower")
implementation = pytest.mark.parametrize("compute", KERNELS.values(), ids=KERNELS)
both_products = pytest.mark.parametrize("products", [torch.float32, torch.int16], ids=str)
TOLERANCES = {torch.float32: 1e-5, torch.int16: 1e-2}
SIZES = [(21, 34), (10, 17), (3, 5), (1, 1)]


def maps_of(channels, sizes=SIZES, n=2):
    generator = seeded(0)
    return [torch.randn(n, channels, *hw, generator=generator) for hw in sizes]


def exact(maps, convs, outputs, num_groups, eps=1e-5):
    """What plain PyTorch computes in 64 bits."""
    results = []
    for x in maps:
        y = x.double()
        for conv in convs:
            y = F.conv2d(y, conv.weight.double(), conv.bias.double(), padding=1)
            if conv.norm is not None:
                y = torch.group_norm(y, num_groups, *(each.double() for each in conv.norm), eps)
            y = y.relu()
        results.append(
            [F.conv2d(y, o.weight.double(), o.bias.double(), padding=1) for o in outputs]
        )
    return results


def assert_near(found, expected, tolerance):
    torch.testing.assert_close(
        [[x.double() for x in level] for level in found], expected, rtol=0, atol=tolerance
    )


@implementation
def test_one_cell_by_hand(compute):
    def conv(middle, bias, norm=None):
        weight = torch.zeros(2, 2, 3, 3)
        weight[:, :, 1, 1] = torch.tensor(middle)
        return TowerConv(weight=weight, bias=torch.tensor(bias), norm=norm)

    norm = (torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.25]))
    inner = conv([[1.0, 1.0], [0.0, 2.0]], [0.0, 1.0], norm)
    output = conv([[3.0, 0.0], [1.0, 4.0]], [0.0, -1.0])
    packed = pack_conv_tower([inner], [output], num_groups=1, eps=1e-9)
    maps = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    # The convolution gives 3 and 5; their mean is 4 and their deviation 1, so that they become -1
    # and 1, then -2 + 0.5, which is below 0, and -1 + 0.25, too.
    settings = (packed.num_convs, packed.num_groups, packed.eps, packed.widths)
    tensors = (packed.numbers, packed.scales, packed.bias, packed.norm)
    (result,) = compute([maps], *tensors, *settings)
    torch.testing.assert_close(result.flatten(), torch.tensor([0.0, -1.0]))
    # With the sign of the second weight turned: 1 + 0.25, of which 0 and 4 times come out.
    tensors = (*tensors[:3], packed.norm * torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    (result,) = compute([maps], *tensors, *settings)
    torch.testing.assert_close(result.flatten(), torch.tensor([0.0, 4.0]), rtol=1e-5, atol=1e-5)


@both_products
@pytest.mark.parametrize("num_convs", [0, 1, 2, 3])
@pytest.mark.parametrize("normed", [True, False])
def test_as_plain_layers_in_double_precision(products, num_convs, normed):
    convs, outputs = parts(48, num_convs, (80, 4, 1, 17), normed=normed)
    packed = pack_conv_tower(convs, outputs, num_groups=16, products=products)
    maps = maps_of(48)
    found = conv_tower(maps, packed)
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in found[0])
    # Measured: 7e-6 and 4e-3.
    assert_near(found, exact(maps, convs, outputs, 16), TOLERANCES[products])


@both_products
def test_channels_that_fill_no_vector(products):
    convs, outputs = parts(35, 2, (3,))
    packed = pack_conv_tower(convs, outputs, num_groups=5, products=products)
    maps = maps_of(35)
    assert_near(conv_tower(maps, packed), exact(maps, convs, outputs, 5), TOLERANCES[products])


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
def test_means_far_from_zero():
    convs, outputs = parts(32, 1, (5,))
    far = TowerConv(weight=convs[0].weight, bias=convs[0].bias + 1e4, norm=convs[0].norm)
    maps = maps_of(32)
    packed = pack_conv_tower([far], outputs, num_groups=4)
    # Of numbers near 1e4 float32 keeps 5e-4; sums of squares would lose all. Measured: 1e-3.
    assert_near(conv_tower(maps, packed), exact(maps, [far], outputs, 4), 5e-3)


@both_products
def test_as_the_operators_one_after_the_other(products):
    in_integers = products is torch.int16
    pack = pack_winograd_weight_int16 if in_integers else pack_winograd_weight
    convolve = winograd_conv3x3_int16 if in_integers else winograd_conv3x3
    convs, outputs = parts(32, 2, (9, 1))
    packed = pack_conv_tower(convs, outputs, num_groups=8, products=products)
    maps = maps_of(32)
    for found, x in zip(conv_tower(maps, packed), maps, strict=True):
        for conv in convs:
            y = convolve(x, pack(conv.weight), conv.bias)
            x = group_norm_relu(y, 8, *conv.norm)
        expected = [convolve(x, pack(each.weight), each.bias) for each in outputs]
        # Rounding to integers may fall to the other side of a half.
        tolerance = 2e-3 if in_integers else 1e-5
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@implementation
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_spoils_its_image_and_level_alone(compute, value):
    convs, outputs = parts(12, 2, (3,))
    packed = pack_conv_tower(convs, outputs, num_groups=3)
    maps = maps_of(12, [(9, 8), (5, 4)])
    maps[0][1, 2, 8, 7] = value
    tensors = (packed.numbers, packed.scales, packed.bias, packed.norm)
    settings = (packed.num_convs, packed.num_groups, packed.eps, packed.widths)
    first, second = compute(maps, *tensors, *settings)
    assert first[0].isfinite().all()
    assert not first[1].isfinite().any()
    assert second.isfinite().all()


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@both_products
def test_a_level_or_an_image_is_computed_as_it_is_alone(products):
    convs, outputs = parts(32, 2, (9, 1))
    packed = pack_conv_tower(convs, outputs, num_groups=8, products=products)
    maps = maps_of(32)
    together = conv_tower(maps, packed)
    for level, x in enumerate(maps):
        for image in range(2):
            (alone,) = conv_tower([x[image : image + 1]], packed)
            for index, each in enumerate(alone):
                assert torch.equal(each, together[level][index][image : image + 1])


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@both_products
def test_thread_count_changes_no_bit(products):
    convs, outputs = parts(70, 2, (9, 1))
    packed = pack_conv_tower(convs, outputs, num_groups=7, products=products)
    maps, results = maps_of(70), []
    for count in (1, 2, 7):
        torch.set_num_threads(count)
        results.append(conv_tower(maps, packed))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


def test_layouts_change_no_bit():
    convs, outputs = parts(20, 2, (9,))
    packed = pack_conv_tower(convs, outputs, num_groups=4)
    maps = maps_of(20)
    last = conv_tower([x.contiguous(memory_format=torch.channels_last) for x in maps], packed)
    doubled = [x.repeat_interleave(2, dim=3)[..., ::2] for x in maps]
    for other in (maps, doubled):
        torch.testing.assert_close(conv_tower(other, packed), last, rtol=0, atol=0)


def test_no_images():
    convs, outputs = parts(20, 2, (9, 1))
    packed = pack_conv_tower(convs, outputs, num_groups=4)
    maps = [*maps_of(20, [(4, 5)]), torch.zeros(0, 20, 2, 3)]
    found = conv_tower(maps, packed)
    assert [[tuple(x.shape) for x in level] for level in found] == [
        [(2, 9, 4, 5), (2, 1, 4, 5)],
        [(0, 9, 2, 3), (0, 1, 2, 3)],
    ]
    torch.testing.assert_close(found[:1], conv_tower(maps[:1], packed), rtol=0, atol=0)


def test_what_cannot_be_a_tower_is_refused():
    convs, outputs = parts(8, 2, (3,))
    other, _ = parts(4, 1, (3,))
    bare = TowerConv(weight=convs[0].weight, bias=convs[0].bias)
    with pytest.raises(ValueError, match=r"^outputs: .*none"):
        pack_conv_tower(convs, [])
    with pytest.raises(ValueError, match=r"^convs\[2\].weight: .*got \(4, 4, 3, 3\)"):
        pack_conv_tower([*convs, *other], outputs)
    with pytest.raises(ValueError, match=r"^convs: .*norm"):
        pack_conv_tower([*convs, bare], outputs)
    with pytest.raises(ValueError, match=r"^outputs: .*without a norm"):
        pack_conv_tower(convs, convs[:1])
    packed = pack_conv_tower(convs, outputs, num_groups=4)
    with pytest.raises(ValueError, match=r"^maps: .*got \(1, 7, 2, 2\)"):
        conv_tower([torch.zeros(1, 8, 2, 2), torch.zeros(1, 7, 2, 2)], packed)
    with pytest.raises(ValueError, match=r"^maps\[0\]: .*int64"):
        conv_tower([torch.zeros(1, 8, 2, 2).long()], packed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_groups": 3}, r"num_groups: expected .*got 3"),
        ({"num_groups": 0}, r"num_groups: expected .*got 0"),
        ({"eps": 0.0}, r"eps: expected .*got 0"),
        ({"eps": float("nan")}, r"eps: expected .*got nan"),
        ({"products": torch.int8}, r"products: expected .*got torch.int8"),
    ],
)
def test_settings_that_no_tower_has_are_refused_when_it_is_packed(settings, message):
    conv = TowerConv(weight=torch.rand(4, 4, 3, 3), bias=torch.rand(4))
    with pytest.raises(ValueError, match=message):
        pack_conv_tower([conv], [conv], **settings)
