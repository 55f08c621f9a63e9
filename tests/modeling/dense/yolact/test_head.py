import pytest
import torch

from maskrcnn_benchmark.modeling.dense.yolact.head import MaskIoUNet, YolactHead


def make_head():
    return YolactHead(in_channels=4, num_anchors=3, num_foreground=5, num_prototypes=6)


@pytest.mark.parametrize("num_images", [0, 2])
def test_shapes(num_images):
    maps = [torch.randn(num_images, 4, height, 5) for height in (8, 4)]
    outputs = make_head()(maps)
    assert [tuple(x.shape) for x in outputs.codes] == [(num_images, 12, h, 5) for h in (8, 4)]
    assert outputs.logits[0].shape == (num_images, 18, 8, 5)
    assert outputs.coefficients[0].shape == (num_images, 18, 8, 5)
    assert outputs.coefficients[0].abs().lt(1).all()
    assert outputs.prototypes.shape == (num_images, 6, 16, 10)
    assert outputs.prototypes.ge(0).all()
    assert outputs.finest is maps[0]


def test_biases_start_at_zero():
    for module in (make_head(), MaskIoUNet(num_foreground=5)):
        biases = [value for name, value in module.named_parameters() if name.endswith("bias")]
        assert biases
        assert not any(bias.any() for bias in biases)


def test_rescoring_takes_the_greatest_cell():
    net = MaskIoUNet(num_foreground=2)
    masks = torch.rand(3, 138, 138)
    assert net(masks).shape == (3, 2)
    assert net(masks[:0]).shape == (0, 2)
    maps = net.maskiou_pred(net.layers(masks[:, None]))
    assert maps.shape[-2:] == (3, 3)
    torch.testing.assert_close(net(masks), maps.relu().amax(dim=(2, 3)))
    with pytest.raises(ValueError, match="63"):
        net(torch.zeros(1, 62, 80))
