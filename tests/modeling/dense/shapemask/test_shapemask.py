"""The whole family, small, by its settings."""

import math

import pytest
import torch

from maskrcnn_benchmark.config import ArchitectureSpec, get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data import make_datasets
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.photo_masks import PhotoMasks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.contract.source_tree import ROOT
from tests.factories import rectangle
from tests.modeling.detector.narrow import NARROW

SMALL = {
    **{key: value for key, value in NARROW.items() if key.startswith("MODEL.RESNETS")},
    "MODEL.WEIGHT": "",
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.NUM_CLASSES": 4,
    "MODEL.DENSE.SETTINGS.MASK_CHANNELS": 8,
    "MODEL.DENSE.SETTINGS.NUM_PRIORS": 2,
    "MODEL.DENSE.SETTINGS.NUM_SAMPLED": 3,
    "INPUT.MIN_SIZE_TEST": 256,
}


def load(**more):
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs/shapemask/shapemask_R_50_FPN_640_2x.yaml")
    for key, value in (SMALL | {k.replace("__", "."): v for k, v in more.items()}).items():
        cfg.merge_from_list([key, value])
    return cfg


def make_target(boxes):
    target = BoxList(torch.tensor(boxes).view(-1, 4), (256, 200), pixel_offset=0)
    if not boxes:
        return target
    target.add_field("labels", torch.arange(len(boxes)) % 3 + 1)
    polygons = [[rectangle(*box)] for box in boxes]
    target.add_field("masks", SegmentationMask(polygons, target.size))
    return target


def test_weights_start_as_published():
    state = build_detection_model(load()).state_dict()
    bias = -math.log(99)
    for name, std in (
        ("rpn.head.cls_logits.weight", 1e-5),
        ("rpn.head.bbox_pred.weight", 1e-5),
        ("rpn.head.cls_logits.bias", 0),
        ("roi_heads.mask.prior_classifier.weight", 0.01),
        ("roi_heads.mask.coarse.convs.0.weight", 0.01),
        ("roi_heads.mask.fine.predict.weight", 0.01),
    ):
        assert state[name].std() == pytest.approx(std, rel=0.25, abs=1e-12), name
    assert state["rpn.head.cls_logits.bias"].mean() == pytest.approx(bias)
    assert state["roi_heads.mask.fine.predict.bias"].mean() == pytest.approx(bias)
    reduce = state["roi_heads.mask.reduce.weight"]
    limit = math.sqrt(6 / sum(reduce.shape))
    assert 0.9 * limit < reduce.abs().max() <= limit


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_it_trains_on_photos_with_objects_and_without_any(class_agnostic):
    torch.manual_seed(0)
    model = build_detection_model(load(MODEL__DENSE__SETTINGS__CLASS_AGNOSTIC=class_agnostic))
    images = torch.randn(2, 3, 256, 256)
    for targets in (
        [make_target([[10.0, 10, 100, 80], [30, 60, 90, 190]]), make_target([])],
        [make_target([]), make_target([])],
    ):
        losses = model(images, targets)
        assert all(value.isfinite() for value in losses.values())
        model.zero_grad()
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert not parameter.requires_grad or parameter.grad.isfinite().all(), name


def test_kernels_of_the_first_stages_are_frozen_and_their_norms_learn():
    model = build_detection_model(load())
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert len(frozen) == 11
    assert all(
        name.startswith(("backbone.body.stem.conv", "backbone.body.layer1")) for name in frozen
    )
    assert not any(".bn" in name or ".downsample.1" in name for name in frozen)
    before = model.backbone.body.stem.bn1.running_mean.clone()
    model(torch.randn(2, 3, 256, 256) + 1, [make_target([]), make_target([])])
    assert not torch.equal(model.backbone.body.stem.bn1.running_mean, before)


@torch.no_grad()
def test_nothing_found_and_photos_of_a_batch_do_not_matter_to_one_another():
    torch.manual_seed(0)
    model = build_detection_model(load(MODEL__DENSE__SETTINGS__SCORE_THRESHOLD=0.0)).eval()
    torch.nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.1)
    images = torch.randn(2, 3, 256, 256)
    together = model(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = model(image[None])
        torch.testing.assert_close(alone.bbox, found.bbox, rtol=0, atol=1e-2)
        assert found.predicted_masks.size == found.size
        assert found.pixel_offset == 0
    model.rpn.head.cls_logits.bias.fill_(-100)
    model.rpn.select_test.settings = type(model.rpn.select_test.settings)(0.5, 10, 0.5, 10)
    for found in model(images):
        assert len(found) == 0
        assert found.predicted_masks.encode() == []


@torch.no_grad()
def test_no_images():
    assert build_detection_model(load()).eval()(torch.zeros(0, 3, 256, 256)) == []


def test_boxes_alone_need_no_outlines():
    cfg = load(MODEL__MASK_ON=False)
    spec = ArchitectureSpec.from_config(cfg)
    assert spec.iou_types == ("bbox",)
    assert not spec.target_fields
    with torch.no_grad():
        (found,) = build_detection_model(cfg).eval()(torch.zeros(1, 3, 256, 256))
    assert "mask" not in found.fields()


def test_heads_that_need_another_mask_head_are_refused():
    with pytest.raises(ConfigError, match="MASKIOU_ON"):
        ArchitectureSpec.from_config(load(MODEL__MASKIOU_ON=True))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("JITTER", -1.0),
        ("MASK_TRAIN_CLASS", "coco"),
        ("NUM_PRIORS", 0),
        ("HUBER_DELTA", 0.0),
        ("ANCHOR_SIZE", 0.0),
        ("ANCHOR_RATIOS", ()),
        ("ANCHOR_RATIOS", (1.0, 0.0)),
    ],
)
def test_settings_that_make_no_sense_are_told(key, value):
    with pytest.raises(ConfigError, match=key):
        build_detection_model(load(**{f"MODEL__DENSE__SETTINGS__{key}": value}))


def test_targets_of_a_data_set_have_edges_for_corners_and_masks_of_the_photo():
    name = "quickstart_train_few"
    assert name in DatasetCatalog.DATASETS
    cfg = load(MODEL__NUM_CLASSES=81, DATASETS__TRAIN=(name,))
    (dataset,) = make_datasets(cfg, test=False).train
    _, target, _ = dataset[0]
    assert target.pixel_offset == 0
    width, height = dataset.get_img_info(0)["width"], dataset.get_img_info(0)["height"]
    assert target.get_field("masks").to_bitmasks().shape[1:] == (height, width)
    assert PhotoMasks.of(target.get_field("masks")).size == (width, height)
