"""The RoI heads of FBNet models."""

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.registry import (
    ROI_BOX_FEATURE_EXTRACTORS,
    ROI_KEYPOINT_FEATURE_EXTRACTORS,
    ROI_MASK_FEATURE_EXTRACTORS,
)
from maskrcnn_benchmark.modeling.roi_heads import roi_heads  # noqa: F401  # enters the heads
from maskrcnn_benchmark.structures.bounding_box import BoxList

BUILDERS = {
    "box": ROI_BOX_FEATURE_EXTRACTORS["FBNet.roi_head"],
    "mask": ROI_MASK_FEATURE_EXTRACTORS["FBNet.roi_head_mask"],
    "keypoint": ROI_KEYPOINT_FEATURE_EXTRACTORS["FBNet.roi_head_keypoints"],
}


def build(head, **settings):
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.FBNET.WIDTH_DIVISOR", 8])
    for section in ("ROI_BOX_HEAD", "ROI_MASK_HEAD"):
        cfg.merge_from_list([f"MODEL.{section}.POOLER_RESOLUTION", 6])
    for key, value in settings.items():
        cfg.merge_from_list([f"MODEL.FBNET.{key}", value])
    return BUILDERS[head](cfg, 96)


def run(extractor, num_boxes=3):
    boxes = torch.tensor([[0.0, 0.0, 63.0, 47.0]]).repeat(num_boxes, 1)
    return extractor([torch.rand(1, 96, 4, 4)], [BoxList(boxes, (64, 64))])


@pytest.mark.parametrize("num_boxes", [3, 0])
@pytest.mark.parametrize(
    ("head", "arch", "channels", "side"),
    [
        ("box", "default", 240, 3),
        ("mask", "default", 80, 12),
        ("mask", "xirb16d_dsmask", 64, 12),
        ("box", "cham_v1a", 104, 3),
    ],
)
def test_features_of_boxes(head, arch, channels, side, num_boxes):
    extractor = build(head, ARCH=arch)
    assert extractor.out_channels == channels
    assert run(extractor, num_boxes).shape == (num_boxes, channels, side, side)


def test_checkpoint_names():
    keys = build("box").state_dict().keys()
    assert {"head.blocks.xif4_0.pw.conv.weight", "head.blocks.xif4_3.pwl.bn.bias"} <= keys


def test_the_stride_of_the_first_block_can_be_set():
    assert run(build("box", DET_HEAD_STRIDE=1)).shape[-1] == 6
    with pytest.raises(ConfigError, match=r"DET_HEAD_STRIDE: .*got 3"):
        build("box", DET_HEAD_STRIDE=3)


def test_blocks_can_be_chosen_and_a_last_convolution_added():
    extractor = build("box", DET_HEAD_BLOCKS=[0, 1], DET_HEAD_LAST_SCALE=-0.5)
    assert list(dict(extractor.head.blocks.named_children())) == ["xif4_0", "xif4_1"]
    assert extractor.out_channels == 80
    assert "head.last.conv.weight" in extractor.state_dict()


def test_the_keypoint_head_of_built_in_architectures_has_all_blocks():
    """upstream: part-without-stages."""
    extractor = build("keypoint")
    assert next(iter(extractor.head.blocks)).pw.conv.in_channels == 96
    assert len(extractor.head.blocks) == 25
    assert extractor.out_channels == 80
    assert run(extractor).shape[:2] == (3, 80)
