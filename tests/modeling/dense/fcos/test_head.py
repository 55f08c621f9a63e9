import math

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSHead, FCOSHeadSettings, FCOSSharedHead
from maskrcnn_benchmark.modeling.registry import FCOS_HEADS

CHANNELS = 64


def make_head(kind=FCOSHead, **options):
    torch.manual_seed(0)
    options = {"num_foreground": 3, "num_convs": 2, "num_levels": 2} | options
    return kind(FCOSHeadSettings(in_channels=CHANNELS, **options))


def make_features(num_images=1):
    generator = torch.Generator().manual_seed(1)
    sizes = [(5, 4), (1, 1)]
    return [torch.randn(num_images, CHANNELS, *hw, generator=generator) for hw in sizes]


@pytest.mark.parametrize("kind", [FCOSHead, FCOSSharedHead])
@pytest.mark.parametrize("points", [1, 4, 5])
def test_shapes(kind, points):
    outputs = make_head(kind, dense_points=points)(make_features(2))
    for level, hw in enumerate([(5, 4), (1, 1)]):
        assert outputs.logits[level].shape == (2, 3 * points, *hw)
        assert outputs.ltrb[level].shape == (2, 4 * points, *hw)
        assert outputs.centerness[level].shape == (2, points, *hw)


def test_probabilities_start_at_the_prior():
    head = make_head(prior_prob=0.02)
    torch.nn.init.zeros_(head.cls_logits.weight)
    for logits in head(make_features()).logits:
        torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, 0.02))


def test_distances_are_the_exponential_of_the_scaled_prediction():
    head = make_head()
    features = make_features()
    before = head(features).ltrb[1].log()
    head.scales[1].scale.data.fill_(3.0)
    torch.testing.assert_close(head(features).ltrb[1].log(), 3 * before)


def test_centerness_sits_on_the_box_tower():
    # UPSTREAM(centerness-on-box-tower): the class tower has no say.
    head = make_head()
    features = make_features()
    before = head(features)
    head.cls_tower[0].weight.data.add_(1.0)
    after = head(features)
    assert torch.equal(after.centerness[0], before.centerness[0])
    assert not torch.equal(after.logits[0], before.logits[0])


def test_residual_connection_adds_the_feature():
    plain, residual = make_head(num_convs=1), make_head(num_convs=1, residual=True)
    feature = make_features()[0]
    for tower, with_identity in zip(
        plain.run_towers(feature), residual.run_towers(feature), strict=True
    ):
        torch.testing.assert_close(with_identity, tower + feature)


def test_shared_head_has_one_tower():
    head = make_head(FCOSSharedHead)
    cls_feature, box_feature = head.run_towers(make_features()[0])
    assert cls_feature is box_feature
    names = {name.split(".")[0] for name, _ in head.named_parameters()}
    assert names == {"shared_tower", "cls_logits", "bbox_pred", "centerness", "scales"}


def test_every_parameter_gets_a_gradient():
    head = make_head()
    outputs = head(make_features())
    sum(level.sum() for levels in outputs for level in levels).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_head_of_the_defaults():
    head = FCOS_HEADS["FCOSHead"](get_default_config(), 256)
    assert head.cls_logits.weight.shape == (80, 256, 3, 3)
    assert len(head.scales) == 5
    expected_bias = -math.log(0.99 / 0.01)
    torch.testing.assert_close(head.cls_logits.bias, torch.full((80,), expected_bias))


def test_every_level_has_a_scale_of_its_own():
    # UPSTREAM(scales-per-level): the original had five, whatever FPN_STRIDES said.
    cfg = get_default_config()
    cfg.MODEL.FCOS.FPN_STRIDES = [8, 16, 32]
    assert FCOSHeadSettings.from_config(cfg, CHANNELS).num_levels == 3
    assert len(make_head(num_levels=3).scales) == 3


def test_bad_number_of_points_names_the_key():
    cfg = get_default_config()
    cfg.MODEL.FCOS.DENSE_POINTS = 3
    with pytest.raises(ConfigError, match=r"MODEL\.FCOS\.DENSE_POINTS"):
        FCOS_HEADS["FCOSHead"](cfg, 256)
