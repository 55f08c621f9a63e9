"""The reference outputs of the original YOLACT, and a model with the weights behind them."""

import numpy as np
import pycocotools.mask as mask_utils
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from tests.contract.source_tree import ROOT
from tests.golden.deterministic_weights_yolact import from_shapes
from tests.golden_data import GOLDEN_DIR, golden_json, golden_npz

CASES = ("yolact_resnet50_550", "yolact_plus_resnet50")
LOSSES = ("loss_cls", "loss_box", "loss_mask", "loss_segm", "loss_maskiou")


def facts(case):
    """What the original said of a case."""
    return golden_json(f"yolact/{case}")


def arrays(case):
    """What it computed."""
    return golden_npz(f"yolact/{case}")


def load_config(case, *options):
    """The settings of a case on the CPU."""
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs" / "yolact" / f"{case}.yaml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", *options])
    return cfg


def build_model(case, folder, *options):
    """The model with the original's weights, read from a file as its author published them."""
    weights = from_shapes(facts(case)["state_dict"])
    # The first files of the author hold these, too.
    weights["backbone.layer1.0.conv1.weight"] = torch.zeros(1)
    weights["fpn.downsample_layers.2.weight"] = torch.zeros(1)
    torch.save(weights, folder / "yolact_54_800000.pth")
    model = build_detection_model(load_config(case, *options))
    Checkpointer(model).load(folder / "yolact_54_800000.pth", use_latest=False, strict=True)
    return model


def load_data(case):
    """The photos as the model of a case takes them in tests."""
    cfg = load_config(case)
    return COCODataset(
        GOLDEN_DIR / "annotations.json",
        GOLDEN_DIR / "images",
        remove_images_without_annotations=False,
        transforms=build_transforms(cfg, is_train=False),
    )


def load_targets(case, *, with_crowds=True, num_objects=None):
    """The original's own targets of both photos, boxes in px of the square."""
    side = facts(case)["facts"]["max_size"]
    return [
        _target(entry, side, with_crowds, num_objects) for entry in facts(case)["train"]["targets"]
    ]


def _target(entry, side, with_crowds, num_objects):
    labels = torch.tensor(entry["labels"])
    is_chosen = labels > 0
    if num_objects is not None:
        is_chosen &= is_chosen.cumsum(0) <= num_objects
    if with_crowds:
        is_chosen |= labels < 0
    chosen = is_chosen.nonzero().squeeze(1)
    edges = torch.tensor(entry["boxes"])[chosen] * side
    target = BoxList(edges - torch.tensor([0, 0, 1, 1]), (side, side))
    target.add_field("labels", labels[chosen])
    bitmaps = np.zeros((len(chosen), side, side), dtype=np.uint8)
    for bitmap, index in zip(bitmaps, chosen.tolist(), strict=True):
        bitmap[:] = mask_utils.decode({"size": [side, side], "counts": entry["masks_rle"][index]})
    target.add_field(
        "masks", SegmentationMask(torch.from_numpy(bitmaps), (side, side), mode="mask")
    )
    return target


def assert_sampled(case, name, value, rtol=1e-3, atol=1e-3):
    """A tensor is the original's in every sampled place."""
    step = facts(case)["tensors"][name]["step"]
    assert tuple(value.shape) == tuple(facts(case)["tensors"][name]["shape"])
    expected = torch.from_numpy(arrays(case)[name])
    torch.testing.assert_close(value.detach().flatten()[::step], expected, rtol=rtol, atol=atol)
