import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.backbone.resnet import ResNet, ResNetSettings
from maskrcnn_benchmark.weights.caffe2 import convert_blobs, load_caffe2_weights
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.model_serialization import load_state_dict
from tests.weights.pickles import python2_pickle

# Shallow and narrow, of one group as R-50 is, and of several as X-101-32x8d is.
RESNET = ResNetSettings((1, 2, 1, 1), stem_channels=8, res2_channels=32, width_per_group=8)
RESNEXT = replace(RESNET, num_groups=4, width_per_group=2)


def _resnet_blobs(body: nn.Module) -> dict[str, np.ndarray]:
    """The weights of a body as Detectron's MSRA files hold them: affine channels for norms."""
    blobs: dict[str, Tensor] = {"conv1_w": body.stem.conv1.weight}
    blobs |= {"res_conv1_bn_s": body.stem.bn1.weight, "res_conv1_bn_b": body.stem.bn1.bias}
    for stage in range(2, 6):
        for index, block in enumerate(getattr(body, f"layer{stage - 1}")):
            layers = {
                "2a": (block.conv1, block.bn1),
                "2b": (block.conv2, block.bn2),
                "2c": (block.conv3, block.bn3),
            }
            if index == 0:
                layers["1"] = (block.downsample[0], block.downsample[1])
            for branch, (conv, norm) in layers.items():
                prefix = f"res{stage}_{index}_branch{branch}"
                blobs |= {f"{prefix}_w": conv.weight}
                blobs |= {f"{prefix}_bn_s": norm.weight, f"{prefix}_bn_b": norm.bias}
    return {name: value.detach().numpy() for name, value in blobs.items()}


def _scatter_norms(body: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, buffer in body.named_buffers():
        if name.endswith((".weight", ".bias")):
            buffer.uniform_(-0.5, 0.5, generator=generator)


@pytest.mark.parametrize("settings", [RESNET, RESNEXT], ids=["resnet", "resnext"])
@torch.no_grad()
def test_an_msra_resnet_gives_the_same_features(settings: ResNetSettings, tmp_path: Path):
    source, target = ResNet(settings=settings), ResNet(settings=settings)
    _scatter_norms(source)
    blobs = _resnet_blobs(source)
    blobs |= {"fc1000_w": np.zeros((10, 4), np.float32), "fc1000_b": np.zeros(10, np.float32)}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(python2_pickle(blobs))
    weights = load_caffe2_weights(path)
    assert weights.ignored == ("fc1000_w", "fc1000_b")
    detector = nn.ModuleDict({"backbone": nn.ModuleDict({"body": target})})
    report = load_state_dict(detector, weights.tensors, by_suffix=True, bn_eps=weights.bn_eps)
    assert report.is_exact
    images = torch.randn(1, 3, 64, 64)
    for mine, theirs in zip(target(images), source(images), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_wrapped_blobs_of_python_3_load_too(tmp_path: Path):
    content = {"blobs": {"conv1_w": np.ones((64, 3, 7, 7), np.float32)}, "cfg": "MODEL: {}"}
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(content))
    assert list(load_caffe2_weights(path).tensors) == ["stem.conv1.weight"]


@pytest.mark.parametrize(
    ("blob", "name"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("res_conv1_bn_s", "stem.bn1.weight"),
        ("res_conv1_bn_b", "stem.bn1.bias"),
        ("conv1_gn_s", "stem.bn1.weight"),
        ("conv1_gn_b", "stem.bn1.bias"),
        ("res2_0_branch1_w", "layer1.0.downsample.0.weight"),
        ("res2_0_branch1_bn_b", "layer1.0.downsample.1.bias"),
        ("res2_0_branch2a_w", "layer1.0.conv1.weight"),
        ("res2_0_branch2a_bn_s", "layer1.0.bn1.weight"),
        ("res4_22_branch2b_w", "layer3.22.conv2.weight"),
        ("res5_2_branch2c_gn_s", "layer4.2.bn3.weight"),
        ("res5_2_branch2c_gn_b", "layer4.2.bn3.bias"),
        ("fpn_inner_res5_2_sum_w", "backbone.fpn.fpn_inner4.weight"),
        ("fpn_inner_res2_2_sum_lateral_w", "backbone.fpn.fpn_inner1.weight"),
        ("fpn_inner_res4_22_sum_lateral_b", "backbone.fpn.fpn_inner3.bias"),
        ("fpn_res3_3_sum_w", "backbone.fpn.fpn_layer2.weight"),
        ("conv_rpn_w", "rpn.head.conv.weight"),
        ("conv_rpn_fpn2_b", "rpn.head.conv.bias"),
        ("rpn_cls_logits_fpn2_w", "rpn.head.cls_logits.weight"),
        ("rpn_bbox_pred_b", "rpn.head.bbox_pred.bias"),
        ("fc6_w", "roi_heads.box.feature_extractor.fc6.weight"),
        ("cls_score_w", "roi_heads.box.predictor.cls_score.weight"),
        ("bbox_pred_b", "roi_heads.box.predictor.bbox_pred.bias"),
        ("_[mask]_fcn4_w", "roi_heads.mask.feature_extractor.mask_fcn4.weight"),
        ("_mask_fcn1_w", "roi_heads.mask.feature_extractor.mask_fcn1.weight"),
        ("conv5_mask_w", "roi_heads.mask.predictor.conv5_mask.weight"),
        ("mask_fcn_logits_b", "roi_heads.mask.predictor.mask_fcn_logits.bias"),
        ("conv_fcn8_w", "roi_heads.keypoint.feature_extractor.conv_fcn8.weight"),
        ("kps_score_lowres_w", "roi_heads.keypoint.predictor.kps_score_lowres.weight"),
        ("head_conv1_w", "roi_heads.box.feature_extractor.xconvs.0.weight"),
        ("head_conv3_b", "roi_heads.box.feature_extractor.xconvs.4.bias"),
        ("fpn_6_w", "backbone.fpn.top_blocks.p6.weight"),
        ("retnet_cls_conv_n0_fpn3_w", "rpn.head.cls_tower.0.weight"),
        ("retnet_bbox_conv_n3_fpn3_b", "rpn.head.bbox_tower.6.bias"),
        ("something_else_w", "something_else_w"),
    ],
)
def test_blob_names(blob: str, name: str):
    assert name in convert_blobs({blob: np.ones(2, np.float32)}).tensors


def test_layers_with_group_norm_are_sequences():
    stems = ("fpn_inner_res2_2_sum_lateral", "_[mask]_fcn1")
    blobs = {f"{s}_{p}": np.ones(2, np.float32) for s in stems for p in ("w", "gn_s", "gn_b")}
    assert list(convert_blobs(blobs).tensors) == [
        f"{layer}.{parameter}"
        for layer in ("backbone.fpn.fpn_inner1", "roi_heads.mask.feature_extractor.mask_fcn1")
        for parameter in ("0.weight", "1.weight", "1.bias")
    ]


def test_box_convolutions_with_group_norm_take_three_places_each():
    blobs = {f"head_conv{n}_{p}": np.ones(2, np.float32) for n in (1, 4) for p in ("w", "gn_s")}
    sequence = "roi_heads.box.feature_extractor.xconvs"
    assert list(convert_blobs(blobs).tensors) == [
        f"{sequence}.{index}.weight" for index in (0, 1, 9, 10)
    ]


def test_the_fixed_kernel_of_heatmaps_is_not_needed():
    blobs = {"kps_score_w": np.ones((17, 17, 4, 4), np.float32)}
    assert convert_blobs(blobs).ignored == ("kps_score_w",)


# Detectron's anchors of RetinaNet, and ours, as (scale, shape).
THEIRS = [(scale, shape) for scale in range(3) for shape in range(3)]
OURS = [(scale, shape) for shape in range(3) for scale in range(3)]


def test_retinanet_classes_follow_the_order_of_anchors():
    per_class = {
        anchor: [100 * anchor[0] + 10 * anchor[1] + c for c in range(2)] for anchor in OURS
    }
    theirs = np.array([value for anchor in THEIRS for value in per_class[anchor]], np.float32)
    tensors = convert_blobs({"retnet_cls_pred_fpn3_b": theirs}).tensors
    expected = [value for anchor in OURS for value in per_class[anchor]]
    assert tensors["rpn.head.cls_logits.bias"].tolist() == expected


def test_retinanet_boxes_get_our_order_and_our_units():
    generator = np.random.default_rng(0)
    offsets = {anchor: generator.normal(size=(4, 2, 3, 3)) for anchor in OURS}
    theirs = np.concatenate([offsets[anchor] for anchor in THEIRS]).astype(np.float32)
    weight = convert_blobs({"retnet_bbox_pred_fpn3_w": theirs}).tensors["rpn.head.bbox_pred.weight"]
    # Our box coder divides by these.
    units = np.array([10, 10, 5, 5]).reshape(4, 1, 1, 1)
    expected = np.concatenate([offsets[anchor] * units for anchor in OURS]).astype(np.float32)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6)


def test_a_retinanet_of_other_anchors_is_refused():
    with pytest.raises(CheckpointError, match=r"retnet_bbox_pred_fpn3_b.*\b9\b.*\b24\b"):
        convert_blobs({"retnet_bbox_pred_fpn3_b": np.zeros(24, np.float32)})


def test_group_norm_bodies_get_no_running_statistics():
    tensors = convert_blobs({"res2_0_branch2a_gn_s": np.ones(2, np.float32)}).tensors
    assert list(tensors) == ["layer1.0.bn1.weight"]


def test_affine_channels_get_mean_0_and_variance_1():
    tensors = convert_blobs({"res2_0_branch2a_bn_s": np.full(2, 3, np.float32)}).tensors
    assert tensors["layer1.0.bn1.running_mean"].tolist() == [0, 0]
    assert tensors["layer1.0.bn1.running_var"].tolist() == [1, 1]


def test_a_bias_in_front_of_a_norm_is_folded_into_it():
    # scale * (x + bias) + shift = scale * x + (shift + scale * bias)
    blobs = {
        "conv1_w": np.ones((2, 3, 7, 7), np.float32),
        "conv1_b": np.array([1, -2], np.float32),
        "res_conv1_bn_s": np.array([10, 100], np.float32),
        "res_conv1_bn_b": np.array([0.5, 0.25], np.float32),
    }
    tensors = convert_blobs(blobs).tensors
    assert "stem.conv1.bias" not in tensors
    assert tensors["stem.bn1.bias"].tolist() == [10.5, -199.75]
    assert blobs["res_conv1_bn_b"].tolist() == [0.5, 0.25]


def test_solver_state_is_not_needed():
    blobs = {name: np.ones(1, np.float32) for name in ("lr", "conv1_w_momentum", "pred_b")}
    weights = convert_blobs(blobs)
    assert weights.tensors == {}
    assert weights.ignored == tuple(blobs)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"model": {"stem.conv1.weight": np.ones(1)}, "__author__": "x"}, "'model', '__author__'"),
        ([1, 2], "a list"),
        ({}, "a dictionary of nothing"),
    ],
)
def test_another_pickle_is_refused(content: object, found: str, tmp_path: Path):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=rf"other\.pkl.*{found}"):
        load_caffe2_weights(path)
