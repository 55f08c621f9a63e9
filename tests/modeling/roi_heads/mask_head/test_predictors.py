import pytest
import torch

from maskrcnn_benchmark.modeling.roi_heads.mask_head.predictors import MaskRCNNC4Predictor


def make_predictor(**options):
    torch.manual_seed(0)
    return MaskRCNNC4Predictor(in_channels=6, hidden_channels=5, num_classes=4, **options)


def all_classes(predictor, features):
    """Logits (R, C, M, M) as Mask R-CNN computes them."""
    return predictor.mask_fcn_logits(predictor.conv5_mask(features).relu())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_own_class_of_the_full_prediction(memory_format):
    predictor = make_predictor()
    predictor.mask_fcn_logits.bias.data.normal_()
    features = torch.randn(3, 6, 7, 7).to(memory_format=memory_format)
    labels = torch.tensor([2, 0, 2])
    expected = all_classes(predictor, features)[torch.arange(3), labels]
    torch.testing.assert_close(predictor(features, labels), expected)


@pytest.mark.parametrize("shape", [(3, 6, 7, 5), (1, 6, 1, 1), (0, 6, 7, 7)])
@torch.no_grad()
def test_products_before_pixels_are_in_place(shape):
    predictor = make_predictor()
    predictor.mask_fcn_logits.bias.data.normal_()
    predictor.conv5_mask.bias.data.normal_()
    features, labels = torch.randn(shape), torch.tensor([2, 0, 3])[: shape[0]]
    folded = predictor.folded()
    torch.testing.assert_close(folded(features, labels), predictor(features, labels))
    torch.testing.assert_close(folded(features), predictor(features))


def test_with_another_upsampling_nothing_is_folded():
    predictor = make_predictor()
    predictor.conv5_mask = torch.nn.ConvTranspose2d(6, 5, 4, 2, 1)
    assert predictor.folded() is predictor


def test_gradients_equal_those_of_the_full_prediction():
    labels = torch.tensor([1, 3])
    features = torch.randn(2, 6, 7, 7)
    gradients = []
    for full in (True, False):
        predictor = make_predictor()
        if full:
            logits = all_classes(predictor, features)[torch.arange(2), labels]
        else:
            logits = predictor(features, labels)
        logits.square().sum().backward()
        gradients.append([parameter.grad for parameter in predictor.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_without_rois_every_parameter_has_a_zero_gradient():
    predictor = make_predictor()
    logits = predictor(torch.zeros(0, 6, 7, 7), torch.zeros(0, dtype=torch.int64))
    assert logits.shape == (0, 14, 14)
    logits.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in predictor.parameters())


def test_spread_of_the_last_layer_at_the_start():
    torch.manual_seed(0)
    wide = MaskRCNNC4Predictor(in_channels=8, hidden_channels=256, num_classes=81)
    assert wide.mask_fcn_logits.weight.std().item() == pytest.approx((2 / 81) ** 0.5, rel=0.03)
    gentle = MaskRCNNC4Predictor(
        in_channels=8, hidden_channels=256, num_classes=81, logits_std=0.001
    )
    assert gentle.mask_fcn_logits.weight.std().item() == pytest.approx(0.001, rel=0.03)
