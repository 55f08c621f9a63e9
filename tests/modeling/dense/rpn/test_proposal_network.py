"""What MODEL.RPN makes of the region proposal network."""

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

FPN = (
    *("MODEL.RPN.USE_FPN", True, "MODEL.RPN.ANCHOR_STRIDE", (4, 8, 16, 32, 64)),
    *("MODEL.RPN.PRE_NMS_TOP_N_TRAIN", 200, "MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN", 30),
    *("MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 20),
)
RPN_ONLY = ("MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", False)


def make_network(*options):
    cfg = get_default_config()
    cfg.merge_from_list(list(options))
    torch.manual_seed(0)
    return build_rpn(cfg, in_channels=8)


def make_batch(strides=(4, 8, 16, 32, 64), num_boxes=(1, 2)):
    generator = torch.Generator().manual_seed(0)
    images = ImageList(torch.zeros(2, 3, 64, 64), [(64, 64), (48, 60)])
    features = [torch.rand(2, 8, 64 // s, 64 // s, generator=generator) for s in strides]
    boxes = torch.tensor([[10.0, 10, 40, 40], [4, 4, 30, 20]])
    sizes = [(64, 64), (60, 48)]
    targets = [BoxList(boxes[:n], size) for n, size in zip(num_boxes, sizes, strict=True)]
    for target in targets:
        target.add_field("labels", torch.ones(len(target), dtype=torch.int64))
    return images, features, targets


@pytest.mark.parametrize("strides", [(4, 8, 16, 32, 64), (16,)])
def test_ground_truth_joins_the_proposals_of_a_box_head(strides):
    network = make_network(*(FPN if len(strides) > 1 else ()))
    images, features, targets = make_batch(strides)
    output = network(images, features, targets)
    assert set(output.losses) == {"loss_objectness", "loss_rpn_box_reg"}
    for proposals, target in zip(output.boxes, targets, strict=True):
        assert proposals.fields() == ["objectness"]
        assert torch.equal(proposals.bbox[-len(target) :], target.bbox)
        assert (proposals.get_field("objectness")[-len(target) :] == 1).all()
        assert not proposals.bbox.requires_grad
    if len(strides) > 1:  # 30 for the batch, and three ground truths
        assert sum(len(proposals) for proposals in output.boxes) == 33


def test_the_limit_can_be_one_for_each_image():
    network = make_network(*FPN, "MODEL.RPN.FPN_POST_NMS_PER_BATCH", False)
    proposals = network(*make_batch()).boxes
    assert [len(boxes) for boxes in proposals] == [31, 32]


def test_without_later_heads_training_makes_no_proposals():
    output = make_network(*FPN, *RPN_ONLY)(*make_batch())
    assert output.boxes == []
    assert set(output.losses) == {"loss_objectness", "loss_rpn_box_reg"}


def test_evaluation_gives_the_best_boxes_first_and_no_losses():
    network = make_network(*FPN, *RPN_ONLY).eval()
    images, features, _ = make_batch()
    output = network(images, features)
    assert output.losses == {}
    for proposals, size in zip(output.boxes, [(64, 64), (60, 48)], strict=True):
        scores = proposals.get_field("objectness")
        assert torch.equal(scores, scores.sort(descending=True).values)
        assert len(proposals) == 20
        assert proposals.size == size
        assert (proposals.bbox <= torch.tensor([*size, *size]) - 1).all()


def test_gradients_reach_every_layer():
    network = make_network(*FPN)
    images, features, targets = make_batch()
    sum(network(images, features, targets).losses.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_images_without_objects_train():
    network = make_network(*FPN)
    images, features, targets = make_batch(num_boxes=(0, 0))
    output = network(images, features, targets)
    assert output.losses["loss_rpn_box_reg"].item() == 0
    assert sum(len(boxes) for boxes in output.boxes) == 30
    sum(output.losses.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
