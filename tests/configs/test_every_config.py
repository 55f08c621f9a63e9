"""Every shipped configuration: builds, takes its own weights back, detects and trains a step.

Configurations that differ in data and schedule alone describe the same model, which is run once.
"""

import pytest
import torch

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention, get_default_config
from maskrcnn_benchmark.config.families import FAMILIES
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints
from tests.contract.source_tree import ROOT, files
from tests.golden.deterministic_weights import deterministic_state_dict
from tests.golden_data import GOLDEN_DIR

pytestmark = pytest.mark.slow
NAMES = sorted(
    str(path.relative_to(ROOT)) for path in files("configs", ".yaml") if path.parent.name != "base"
)
# Small photos and few rois; nothing that changes the model.
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHT": "",
    "INPUT.MIN_SIZE_TEST": 72,
    "INPUT.MAX_SIZE_TEST": 96,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 32,
    "MODEL.RPN.PRE_NMS_TOP_N_TRAIN": 100,
    "MODEL.RPN.PRE_NMS_TOP_N_TEST": 100,
    "MODEL.RPN.POST_NMS_TOP_N_TRAIN": 20,
    "MODEL.RPN.POST_NMS_TOP_N_TEST": 20,
    "MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN": 40,
    "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST": 20,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8,
    "MODEL.ROI_HEADS.DETECTIONS_PER_IMG": 5,
    "MODEL.FCOS.POST_NMS_TOP_N_TRAIN": 10,
    "TEST.DETECTIONS_PER_IMG": 5,
    "TEST.EXPECTED_RESULTS": [],
}
LOSSES = {
    "fcos": {"loss_cls", "loss_reg", "loss_centerness"},
    "rpn": {"loss_objectness", "loss_rpn_box_reg"},
    "retinanet": {"loss_retina_cls", "loss_retina_reg"},
    "box": {"loss_classifier", "loss_box_reg"},
    "mask": {"loss_mask"},
    "maskiou": {"loss_maskiou"},
    "keypoint": {"loss_kp"},
    "shapemask": {"loss_cls", "loss_box"},
    "shapemask mask": {"loss_prior", "loss_coarse", "loss_fine"},
    "tensormask": {"loss_cls", "loss_box_reg", "loss_mask"},
    "yolact": {"loss_cls", "loss_box", "loss_mask", "loss_segm"},
}


def load(name: str) -> CfgNode:
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / name)
    cfg.merge_from_list([item for pair in SMALL.items() for item in pair])
    if cfg.MODEL.DENSE.SETTINGS.get("MASKIOU_ON", False):
        cfg.INPUT.MIN_SIZE_TEST = 256  # its layers leave nothing of smaller masks
    if cfg.INPUT.RESIZE_RULE == "canvas":
        cfg.DATALOADER.SIZE_DIVISIBILITY = 128  # as small as the photos
    return cfg


def examples(cfg: CfgNode):
    """Two small photos with objects of as many classes as the model has, and keypoints."""
    dataset = COCODataset(
        GOLDEN_DIR / "annotations.json",
        GOLDEN_DIR / "images",
        remove_images_without_annotations=False,
        transforms=build_transforms(cfg, is_train=False),
        pixel_offset=Convention.from_config(cfg).pixel_offset,
    )
    images, targets, _ = zip(*(dataset[i] for i in range(2)), strict=True)
    num_foreground = ArchitectureSpec.from_config(cfg).num_classes - 1
    return (
        to_image_list(images, cfg.DATALOADER.SIZE_DIVISIBILITY),
        [as_target(target, num_foreground) for target in targets],
    )


def as_target(target: BoxList, num_foreground: int) -> BoxList:
    result = target.copy_with_fields(["masks"])
    result.add_field("labels", (target.labels - 1) % num_foreground + 1)
    centers = (target.bbox[:, :2] + target.bbox[:, 2:]) / 2
    points = torch.full((len(target), len(PersonKeypoints.NAMES), 3), 2.0)
    points[..., :2] = centers[:, None]
    result.add_field("keypoints", PersonKeypoints(points, target.size))
    return result


def run(cfg: CfgNode) -> None:
    """Everything that is asked of a model."""
    spec = ArchitectureSpec.from_config(cfg)
    torch.manual_seed(0)
    model = build_detection_model(cfg)
    takes_its_weights_back(model)
    images, targets = examples(cfg)
    # First: a step of training may make all scores 1, and then every box is one of the best.
    detects(model, spec, images)
    trains(model, cfg, spec, images, targets)


def takes_its_weights_back(model) -> None:
    weights = deterministic_state_dict(model.state_dict())
    model.load_state_dict(weights)
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key]), key


def trains(model, cfg, spec, images, targets) -> None:
    optimizer = make_optimizer(cfg, model)
    losses = model.train()(images, targets)
    own = FAMILIES[spec.proposal].heads
    heads = [f"{spec.proposal} {name}" if name in own else name for name in spec.roi_heads]
    parts = (spec.proposal, *heads, *(["maskiou"] if rescores(spec) else []))
    assert set(losses) == set().union(*(LOSSES[part] for part in parts))
    assert all(loss.isfinite() for loss in losses.values()), losses
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
    optimizer.step()
    assert all(value.isfinite().all() for value in model.parameters())
    model.zero_grad(set_to_none=True)


def rescores(spec) -> bool:
    """Whether a dense detector scores its own masks anew."""
    return getattr(spec.settings, "maskiou_on", False)


def detects(model, spec, images) -> None:
    with torch.inference_mode():
        found = model.eval()(images)
    assert [boxes.size for boxes in found] == [size[::-1] for size in images.image_sizes]
    fields = {"objectness"} if spec.box_only else {"labels", "scores"}
    fields |= {"mask"} if "segm" in spec.iou_types else set()
    fields |= {"mask_scores"} if "maskiou" in spec.roi_heads or rescores(spec) else set()
    fields |= {"keypoints"} if "keypoint" in spec.roi_heads else set()
    for boxes in found:
        # Boxes of the photo's size have no other fields.
        assert set(boxes.resize(boxes.size).fields()) == fields
        assert boxes.bbox.isfinite().all()
        for field in fields - {"keypoints", "mask"}:
            assert boxes.get_field(field).isfinite().all(), field
        if "mask" in fields:
            assert len(boxes.predicted_masks.encode()) == len(boxes)


def model_settings(name: str) -> str:
    """The settings of a file that make the model and its input, as text."""
    cfg = load(name)
    return (
        f"{cfg.MODEL}{cfg.INPUT.TO_BGR255}{cfg.INPUT.PIXEL_STD}{cfg.DATALOADER.SIZE_DIVISIBILITY}"
    )


def one_of_each_model() -> list[str]:
    """The first file that describes each model."""
    return sorted({model_settings(name): name for name in reversed(NAMES)}.values())


@pytest.mark.parametrize("name", one_of_each_model())
def test_builds_loads_detects_and_trains(name):
    run(load(name))
