import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.dense.rpn.head import SingleConvRPNHead
from maskrcnn_benchmark.modeling.registry import RPN_HEADS


def test_shapes_on_every_level_and_names():
    head = SingleConvRPNHead(in_channels=8, num_anchors=3)
    logits, deltas = head([torch.rand(2, 8, 4, 6), torch.rand(2, 8, 1, 1)])
    assert [tuple(level.shape) for level in logits] == [(2, 3, 4, 6), (2, 3, 1, 1)]
    assert [tuple(level.shape) for level in deltas] == [(2, 12, 4, 6), (2, 12, 1, 1)]
    layers = ("conv", "cls_logits", "bbox_pred")
    expected = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert list(head.state_dict()) == expected


def test_a_cell_by_hand():
    head = SingleConvRPNHead(in_channels=1, num_anchors=1)
    values = {name: torch.zeros_like(value) for name, value in head.state_dict().items()}
    values["conv.weight"][0, 0] = 1.0
    values["conv.bias"] += 0.5
    values["cls_logits.weight"] += 2.0
    values["bbox_pred.bias"] += torch.arange(4.0)
    head.load_state_dict(values)
    logits, deltas = head([torch.tensor([[[[1.0, -4.0]]]])])
    assert logits[0].flatten().tolist() == [0, 0]  # relu(1 - 4 + 0.5) = 0
    assert deltas[0][0, :, 0, 0].tolist() == [0, 1, 2, 3]
    logits, _ = head([torch.tensor([[[[1.0, 2.0]]]])])
    assert logits[0].flatten().tolist() == [7, 7]  # 2 * (1 + 2 + 0.5)


def test_the_start_is_small_and_without_bias():
    head = SingleConvRPNHead(in_channels=64, num_anchors=3)
    for layer in (head.conv, head.cls_logits, head.bbox_pred):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.2)
        assert layer.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("options", "num_anchors", "expected"),
    [
        ((), None, 15),
        (("MODEL.RPN.USE_FPN", True, "MODEL.RPN.ANCHOR_STRIDE", (4, 8, 16, 32, 64)), None, 3),
        ((), 10, 10),
    ],
)
def test_the_number_of_anchors(options, num_anchors, expected):
    cfg = get_default_config()
    cfg.merge_from_list(list(options))
    head = RPN_HEADS["SingleConvRPNHead"](cfg, 16, num_anchors)
    assert head.cls_logits.out_channels == expected
    assert head.bbox_pred.out_channels == expected * 4


def test_a_tower_of_convolutions():
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.RPN.RPN_HEAD", "ConvTowerRPNHead", "MODEL.RPN.NUM_CONVS", 3])
    head = RPN_HEADS.build(cfg.MODEL.RPN.RPN_HEAD, cfg, 8, 3)
    logits, deltas = head([torch.rand(2, 8, 4, 5), torch.rand(2, 8, 1, 1)])
    assert [tuple(level.shape) for level in logits] == [(2, 3, 4, 5), (2, 3, 1, 1)]
    assert [tuple(level.shape) for level in deltas] == [(2, 12, 4, 5), (2, 12, 1, 1)]
    convs = [name for name in head.state_dict() if name.startswith("conv") and "weight" in name]
    assert convs == ["conv.0.weight", "conv.2.weight", "conv.4.weight"]
    sum(level.sum() for level in logits).backward()
    assert head.conv[0].weight.grad.abs().max() > 0
