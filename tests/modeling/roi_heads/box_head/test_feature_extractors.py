import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.registry import ROI_BOX_FEATURE_EXTRACTORS, ROI_BOX_PREDICTOR
from maskrcnn_benchmark.modeling.roi_heads.box_head import box_head  # noqa: F401 - registers
from maskrcnn_benchmark.structures.bounding_box import BoxList

NAMES = (
    "FPN2MLPFeatureExtractor",
    "FPNXconv1fcFeatureExtractor",
    "ResNet50Conv5ROIFeatureExtractor",
)


def make_config(*options):
    cfg = get_default_config()
    small = ["POOLER_RESOLUTION", 4, "MLP_HEAD_DIM", 32, "CONV_HEAD_DIM", 32]
    for key, value in zip(small[::2], small[1::2], strict=True):
        cfg.merge_from_list([f"MODEL.ROI_BOX_HEAD.{key}", value])
    cfg.merge_from_list(["MODEL.RESNETS.RES2_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 2])
    cfg.merge_from_list(list(options))
    return cfg


def make_extractor(name, *options):
    return ROI_BOX_FEATURE_EXTRACTORS[name](make_config(*options), 32)


def boxes(*counts):
    return [BoxList(torch.tensor([[1.0, 1, 60, 60]] * n).reshape(-1, 4), (96, 64)) for n in counts]


@pytest.mark.parametrize("name", NAMES)
def test_one_row_a_box_with_gradients_even_without_boxes(name):
    extractor = make_extractor(name)
    maps = [torch.randn(2, 32, 4, 6)]
    both = extractor(maps, boxes(2, 1))
    assert both.shape[:2] == (3, extractor.out_channels)
    assert (both.ndim == 4) == extractor.gives_maps
    single = extractor([maps[0][1:]], boxes(1))
    torch.testing.assert_close(both[2:], single)
    extractor(maps, boxes(0, 0)).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in extractor.parameters())


@pytest.mark.parametrize(
    ("name", "use_gn", "expected"),
    [
        (NAMES[0], False, {"fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias"}),
        (
            NAMES[0],
            True,
            {
                f"{fc}.{part}"
                for fc in ("fc6", "fc7")
                for part in ("0.weight", "1.weight", "1.bias")
            },
        ),
        (
            NAMES[1],
            False,
            {f"xconvs.{i}.{part}" for i in (0, 2, 4, 6) for part in ("weight", "bias")}
            | {"fc6.weight", "fc6.bias"},
        ),
        (
            NAMES[1],
            True,
            {f"xconvs.{i}.weight" for i in (0, 3, 6, 9)}
            | {f"xconvs.{i}.{part}" for i in (1, 4, 7, 10) for part in ("weight", "bias")}
            | {"fc6.weight", "fc6.bias"},
        ),
    ],
)
def test_names_in_checkpoints(name, use_gn, expected):
    extractor = make_extractor(name, "MODEL.ROI_BOX_HEAD.USE_GN", use_gn)
    assert set(extractor.state_dict()) == expected


def test_initial_spread_of_the_stacked_convolutions():
    extractor = make_extractor(NAMES[1])
    assert extractor.xconvs[2].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not extractor.xconvs[2].bias.any()


def test_number_and_dilation_of_the_stacked_convolutions():
    head = "MODEL.ROI_BOX_HEAD"
    extractor = make_extractor(NAMES[1], f"{head}.NUM_STACKED_CONVS", 2, f"{head}.DILATION", 2)
    convs = [layer for layer in extractor.xconvs if isinstance(layer, nn.Conv2d)]
    assert [conv.dilation for conv in convs] == [(2, 2)] * 2
    assert extractor([torch.randn(1, 32, 4, 6)], boxes(1)).shape == (1, 32)


def test_mlp_by_hand():
    extractor = make_extractor(NAMES[0])
    pooled = torch.randn(3, 32, 4, 4)
    hidden = (pooled.reshape(3, -1) @ extractor.fc6.weight.T + extractor.fc6.bias).clamp(min=0)
    expected = (hidden @ extractor.fc7.weight.T + extractor.fc7.bias).clamp(min=0)
    torch.testing.assert_close(extractor.encode(pooled), expected)


@pytest.mark.parametrize(("agnostic", "sets"), [(False, 81), (True, 2)])
@pytest.mark.parametrize("name", ["FPNPredictor", "FastRCNNPredictor"])
def test_predictor(name, agnostic, sets):
    cfg = make_config("MODEL.CLS_AGNOSTIC_BBOX_REG", agnostic)
    predictor = ROI_BOX_PREDICTOR[name](cfg, 12)
    maps = torch.randn(3, 12, 5, 5)
    logits, offsets = predictor(maps)
    assert logits.shape == (3, 81)
    assert offsets.shape == (3, 4 * sets)
    torch.testing.assert_close(predictor(maps.mean(dim=(2, 3))).class_logits, logits)
    assert predictor.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert predictor.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert list(predictor.state_dict())[::2] == ["cls_score.weight", "bbox_pred.weight"]
