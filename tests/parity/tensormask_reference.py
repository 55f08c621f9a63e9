"""The reference outputs of the original TensorMask, and a model with the weights behind them."""

import pickle

import torch

from maskrcnn_benchmark.config import Convention, get_default_config
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.mask_targets import crop_and_rasterize_precisely
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from tests.contract.source_tree import ROOT
from tests.golden.deterministic_weights_tensormask import deterministic_state_dict
from tests.golden_data import GOLDEN_DIR, golden_json, golden_npz

CASE = "tensormask_R_50_FPN"
LOSSES = ("loss_cls", "loss_box_reg", "loss_mask")


def facts():
    """What the original said."""
    return golden_json(f"tensormask/{CASE}")


def arrays():
    """What it computed."""
    return golden_npz(f"tensormask/{CASE}")


def load_config(*options):
    """The settings of the case on the CPU."""
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs" / "tensormask" / f"{CASE}_6x.yaml")
    overrides = facts()["overrides"]
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", *overrides, *options])
    return cfg


def theirs():
    """The weights under the original's names."""
    return deterministic_state_dict(facts()["state_dict"])


def build_model(folder, *options):
    """The model with the original's weights, read from a file as its authors publish them."""
    arrays_by_name = {name: value.numpy() for name, value in theirs().items()}
    path = folder / "model_final_e8df31.pkl"
    content = {"model": arrays_by_name, "__author__": "Detectron2 Model Zoo"}
    path.write_bytes(pickle.dumps(content))
    cfg = load_config(*options)
    model = build_detection_model(cfg)
    DetectronCheckpointer(cfg, model).load(path, use_latest=False, strict=True)
    return model


def load_data():
    """The photos as the model takes them in tests."""
    cfg = load_config()
    return COCODataset(
        GOLDEN_DIR / "annotations.json",
        GOLDEN_DIR / "images",
        remove_images_without_annotations=False,
        transforms=build_transforms(cfg, is_train=False),
        pixel_offset=Convention.from_config(cfg).pixel_offset,
    )


def load_targets():
    """What is to be found in both photos."""
    dataset = load_data()
    return [dataset[index][1] for index in range(2)]


def rasterize(target, index, box, side):
    """(side, side) mask of one object of a target in a box."""
    masks = target.get_field("masks")[[index]]
    return crop_and_rasterize_precisely(masks, torch.tensor([box]), side)[0]


def assert_sampled(name, value, rtol=1e-3, atol=1e-3):
    """A tensor is the original's in every sampled place."""
    entry = facts()["tensors"][name]
    assert tuple(value.shape) == tuple(entry["shape"])
    expected = torch.from_numpy(arrays()[name])
    found = value.detach().flatten()[:: entry["step"]]
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
