"""The reference outputs of the authors' ShapeMask, and a model with the weights behind them."""

import numpy as np
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from tests.contract.source_tree import ROOT
from tests.golden.deterministic_weights_shapemask import state
from tests.golden_data import GOLDEN_DIR, golden_json, golden_npz

CASES = (
    "shapemask_R_50_FPN_640_2x",
    "shapemask_R_50_FPN_640_2x_agnostic",
    "shapemask_R_101_FPN_1024_2x",
)
# Ours -> theirs, and the factor that theirs is without.
LOSSES = {
    "loss_cls": ("retinanet_cls_loss", 1.0),
    "loss_box": ("retinanet_box_loss", 50.0),
    "loss_prior": ("shapemask_prior_loss", 0.1),
    "loss_coarse": ("shapemask_coarse_mask_loss", 1.0),
    "loss_fine": ("shapemask_fine_mask_loss", 1.0),
}


def facts(case):
    """What the authors' program said of a case."""
    return golden_json(f"shapemask/{case}")


def arrays(case):
    """What it computed."""
    return golden_npz(f"shapemask/{case}")


def load_config(case, *options):
    """The settings of a case on the CPU."""
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs" / "shapemask" / f"{case}.yaml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", *options])
    return cfg


def weights_of(case):
    """Name -> tensor."""
    depth = 101 if "R_101" in case else 50
    arrays = state(depth=depth, class_agnostic=case.endswith("agnostic"))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def build_model(case, folder, *options):
    """The model with the reference's weights, read from a checkpoint."""
    path = folder / "weights.pth"
    torch.save({"model": weights_of(case)}, path)
    model = build_detection_model(load_config(case, *options))
    Checkpointer(model).load(path, use_latest=False, strict=True)
    return model


def load_data(case, is_train=False, **options):
    """The photos as the model of a case takes them."""
    return COCODataset(
        GOLDEN_DIR / "annotations.json",
        GOLDEN_DIR / "images",
        remove_images_without_annotations=False,
        transforms=build_transforms(load_config(case, *options.pop("more", ())), is_train),
        **options,
    )


def load_images(case):
    """Both photos as one batch."""
    dataset, divisor = load_data(case), load_config(case).DATALOADER.SIZE_DIVISIBILITY
    return to_image_list([dataset[index][0] for index in range(2)], divisor)


def assert_sampled(case, name, value, rtol=1e-3, atol=1e-3):
    """A tensor is the reference's in every sampled place."""
    step = facts(case)["tensors"][name]["step"]
    expected = torch.from_numpy(np.array(arrays(case)[name]))
    torch.testing.assert_close(value.detach().flatten()[::step], expected, rtol=rtol, atol=atol)


def load_targets(case):
    """The targets of both photos by the training's transforms, without what is drawn.

    The photos fill the canvas as they are.
    """
    options = ("INPUT.FLIP_PROB_TRAIN", 0.0, "INPUT.CANVAS_SCALES_TRAIN", (1.0, 1.0))
    dataset = load_data(case, is_train=True, more=options)
    dataset.gives_bitmaps, dataset.pixel_offset = True, 0
    return [dataset[index][1] for index in range(2)]
