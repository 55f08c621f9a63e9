"""Files of torchvision's detectors; what they find is compared in tests/parity."""

import pytest
import torch
import torchvision

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.files import read_weight_file
from maskrcnn_benchmark.weights.library import _TORCHVISION_DETECTORS, find_library_weights
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.torchvision import DETECTOR_SETTINGS, convert_torchvision
from tests.weights.library_caches import fill_torchvision

BODY = "backbone.body.layer1.0.conv1.weight"
# Enough to be told by; layers are told by their names alone.
NAMES = (BODY, "backbone.fpn.inner_blocks.0.weight", "roi_heads.box_head.fc6.weight")
COUNTER = "backbone.body.bn1.num_batches_tracked"


def tensors_of(*names):
    return {name: torch.ones(2) for name in (*NAMES, *names)}


def empty_state_dict(name):
    with torch.device("meta"):
        build = getattr(torchvision.models.detection, name)
        return build(weights=None, weights_backbone=None).state_dict()


@pytest.mark.parametrize("name", _TORCHVISION_DETECTORS)
def test_every_layer_has_its_place_in_the_model_of_its_configuration(name):
    cfg = get_default_config()
    cfg.merge_from_file(f"configs/torchvision/{name}.yaml")
    assert f"catalog://torchvision/{name}" == cfg.MODEL.WEIGHT
    with torch.device("meta"):
        model = build_detection_model(cfg).state_dict()
    file = convert_torchvision(empty_state_dict(name))
    ours = {key: value.shape for key, value in model.items() if "cell_anchors" not in key}
    assert {key: value.shape for key, value in file.tensors.items()} == ours
    assert file.settings == DETECTOR_SETTINGS


def test_old_files_number_lone_layers_otherwise():
    """torchvision's released files are older than its norms in pyramid and heads."""
    old = {
        "backbone.fpn.inner_blocks.0.weight": "backbone.fpn.fpn_inner1.weight",
        "backbone.fpn.layer_blocks.3.bias": "backbone.fpn.fpn_layer4.bias",
        "rpn.head.conv.weight": "rpn.head.conv.weight",
        "roi_heads.mask_head.mask_fcn2.bias": "roi_heads.mask.feature_extractor.mask_fcn2.bias",
    }
    assert set(convert_torchvision(tensors_of(*old)).tensors) >= set(old.values())


def test_old_towers_count_the_activations_too():
    outputs = {f"head.classification_head.cls_logits.{key}": 9 * 91 for key in ("weight", "bias")}
    outputs |= {f"head.regression_head.bbox_reg.{key}": 36 for key in ("weight", "bias")}
    old = {name: torch.ones(rows) for name, rows in outputs.items()}
    old |= tensors_of("head.classification_head.conv.2.weight", "head.regression_head.conv.6.bias")
    converted = convert_torchvision(old).tensors
    assert {"rpn.head.cls_tower.2.weight", "rpn.head.bbox_tower.6.bias"} <= set(converted)
    assert len(converted["rpn.head.cls_logits.bias"]) == 9 * 90
    assert converted["rpn.head.bbox_pred.bias"][:4].tolist() == [10, 10, 5, 5]


@pytest.mark.parametrize(
    ("more", "frozen_eps", "expected"),
    [
        ((), None, 0.0),
        ((), 1e-5, 1e-5),
        (("head.regression_head.bbox_ctrness.weight",), None, 1e-5),
        ((COUNTER,), None, 1e-5),
    ],
)
def test_the_epsilon_of_norms_is_that_of_the_released_files(more, frozen_eps, expected):
    file = convert_torchvision(tensors_of(*more), frozen_eps)
    assert file.bn_eps == expected
    assert not any("num_batches" in name for name in file.tensors)


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"model": d}], ids=["bare", "model"])
def test_under_other_rules_heads_are_refused_with_the_reason(wrap, tmp_path):
    torch.save(wrap(tensors_of()), tmp_path / "m.pth")
    file = read_weight_file(tmp_path / "m.pth", ())
    assert set(file.tensors) == {BODY, "backbone.fpn.fpn_inner1.weight"}
    ((reason, names),) = file.refused.items()
    assert "MODEL.CONVENTION torchvision" in reason
    assert names == (NAMES[-1],)
    whole = read_weight_file(tmp_path / "m.pth", (), heads_of="torchvision")
    assert len(whole.tensors) == len(NAMES)
    assert not whole.refused


def test_other_bodies_and_unknown_layers_are_refused():
    with pytest.raises(CheckpointError, match="ResNet"):
        convert_torchvision({"backbone.fpn.inner_blocks.0.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"unknown layer 'roi_heads\.new\.weight'"):
        convert_torchvision(tensors_of("roi_heads.new.weight"))


def test_the_library_finds_detectors(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "keypointrcnn_resnet50_fpn"
    for version, eps in (("COCO_V1", 0.0), ("COCO_LEGACY", 1e-5)):
        fill_torchvision(tmp_path, name, version, tensors_of())
        found = find_library_weights(f"torchvision://{name}.{version}")
        assert found.settings == DETECTOR_SETTINGS
        assert found.convert(found.fetch()).bn_eps == eps
    assert find_library_weights(f"torchvision://{name}").convert(tensors_of()).bn_eps == 0.0
