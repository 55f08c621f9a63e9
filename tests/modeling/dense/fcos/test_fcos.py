"""What MODEL.FCOS makes of the FCOS stage."""

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.dense.fcos.fcos import make_target_settings
from maskrcnn_benchmark.modeling.dense.fcos.locations import level_locations
from maskrcnn_benchmark.modeling.dense.fcos.targets import FCOSTargetAssigner
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList


def make_cfg(*options):
    cfg = get_default_config()
    cfg.merge_from_list(
        ["MODEL.RPN_ONLY", True, "MODEL.FCOS.NUM_CLASSES", 3, "MODEL.FCOS.NUM_CONVS", 1, *options]
    )
    return cfg


def levels_of_positives(cfg, box):
    """Numbers of the levels that have a positive location for one box in 256 x 256 px."""
    target = BoxList([box], (256, 256))
    target.add_field("labels", torch.tensor([1]))
    sizes = [256 // stride for stride in (8, 16, 32, 64, 128)]
    locations = [
        level_locations((size, size), 256 // size, 1, torch.device("cpu")) for size in sizes
    ]
    labels, _ = FCOSTargetAssigner(make_target_settings(cfg))(locations, [target])
    per_level = labels.split([size * size for size in sizes])
    return [level for level, values in enumerate(per_level) if (values > 0).any()]


def test_target_assign_chooses_the_levels():
    """upstream: target-assign."""
    box = [100, 100, 140, 140]
    assert levels_of_positives(make_cfg(), box) == [0]
    ranges = [[1000, 2000], [-1, 64], [64, 128], [128, 256], [256, 512]]
    assert levels_of_positives(make_cfg("MODEL.FCOS.TARGET_ASSIGN", ranges), box) == [1]


def test_target_assign_needs_a_range_for_each_level():
    cfg = make_cfg("MODEL.FCOS.TARGET_ASSIGN", [[-1, 64]])
    with pytest.raises(ConfigError, match=r"TARGET_ASSIGN: .*\b5\b.*got 1"):
        make_target_settings(cfg)


def make_batch():
    images = ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)])
    features = [torch.rand(1, 64, 64 // stride, 64 // stride) for stride in (8, 16, 32)]
    features += [torch.rand(1, 64, 1, 1), torch.rand(1, 64, 1, 1)]
    target = BoxList([[10, 10, 40, 40]], (64, 64))
    target.add_field("labels", torch.tensor([1]))
    return images, features, [target]


def test_without_later_heads_training_makes_no_proposals():
    output = build_rpn(make_cfg(), in_channels=64)(*make_batch())
    assert output.boxes == []
    assert set(output.losses) == {"loss_cls", "loss_reg", "loss_centerness"}


def test_ground_truth_joins_the_proposals_of_later_heads():
    stage = build_rpn(make_cfg("MODEL.MASK_ON", True, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 3), 64)
    images, features, targets = make_batch()
    (proposals,) = stage(images, features, targets).boxes
    assert torch.equal(proposals.bbox[-1:], targets[0].bbox)
    assert proposals.get_field("scores")[-1] == 1


def test_evaluation_gives_labelled_boxes_and_no_losses():
    stage = build_rpn(make_cfg("MODEL.FCOS.INFERENCE_TH", 0.0), 64).eval()
    images, features, _ = make_batch()
    output = stage(images, features)
    assert output.losses == {}
    assert len(output.boxes[0]) > 0
    assert output.boxes[0].has_field("labels")
