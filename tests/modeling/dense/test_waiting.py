"""How often finding boxes waits for a GPU: for a batch, and for each image more."""

import importlib

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.image_list import ImageList
from tests.waits import counted, counted_by_pytorch

# Its function hides it in the package.
scores_above = importlib.import_module("maskrcnn_benchmark.layers.scores_above")

STRIDES = (8, 16, 32, 64, 128)
COMMON = ("MODEL.NUM_CLASSES", 4, "TEST.DETECTIONS_PER_IMG", 5)
# Every prediction is a candidate, so that every cut has something to cut off.
FAMILIES = {
    "fcos": (
        *("MODEL.RPN_ONLY", True, "MODEL.FCOS.INFERENCE_TH", 0.0),
        *("MODEL.FCOS.NUM_CONVS", 1, "MODEL.FCOS.PRE_NMS_TOP_N", 40),
    ),
    "retinanet": (
        *("MODEL.RETINANET_ON", True, "MODEL.RETINANET.INFERENCE_TH", 0.0),
        *("MODEL.RETINANET.NUM_CONVS", 1, "MODEL.RETINANET.PRE_NMS_TOP_N", 40),
    ),
    "rpn": (
        *("MODEL.FCOS_ON", False, "MODEL.RPN.USE_FPN", True),
        *("MODEL.RPN.ANCHOR_STRIDE", STRIDES, "MODEL.RPN.PRE_NMS_TOP_N_TEST", 40),
    ),
    "yolact": (
        *("MODEL.DENSE.FAMILY", "yolact", "MODEL.DENSE.SETTINGS.SCORE_THRESHOLD", 0.0),
        *("MODEL.DENSE.SETTINGS.NUM_PROTOTYPES", 4),
    ),
}
# Family -> waits for a batch of five levels, and for each of its images. Fewer are welcome: where
# predictions pass a threshold, a GPU says once how many of each level and image, and once which
# boxes are left.
MOST_WAITS = {"fcos": (2, 0), "retinanet": (2, 0), "rpn": (1, 0), "yolact": (5, 4)}

families = pytest.mark.parametrize("family", FAMILIES)


def make_work(family, num_images, device="cpu"):
    """A call that finds the boxes of so many images, after a first one that fills the caches."""
    cfg = get_default_config()
    cfg.merge_from_list([*COMMON, *FAMILIES[family]])
    stage = build_rpn(cfg, in_channels=32).to(device).eval()
    height, width = 128, 256
    batch = torch.zeros(num_images, 3, height, width, device=device)
    images = ImageList(batch, [(120, 250)] * num_images)
    features = [
        torch.randn(num_images, 32, height // stride, width // stride, device=device)
        for stride in STRIDES
    ]

    @torch.no_grad()
    def work():
        return stage(images, features)

    assert all(len(boxes) for boxes in work().boxes)
    return work


@families
@pytest.mark.parametrize("num_images", [1, 2, 5])
def test_a_batch_waits_so_often(family, num_images, monkeypatch):
    # As on a GPU, which has no kernel of its own for it.
    monkeypatch.setattr(scores_above, "_has_kernel", lambda device: False)
    for_batch, for_image = MOST_WAITS[family]
    waits = counted(make_work(family, num_images))
    assert waits.total() <= for_batch + num_images * for_image, waits


@torch.no_grad()
def test_backbone_pyramid_and_head_wait_for_nothing():
    cfg = get_default_config()
    cfg.merge_from_file("configs/quickstart/centermask_lite_M_v2_FPN_quickstart.yaml")
    model, images = build_detection_model(cfg).eval(), torch.zeros(2, 3, 64, 96)
    assert not counted(lambda: model.rpn.head(model.backbone(images)))


@families
@pytest.mark.gpu
def test_a_gpu_waits_no_more_often(family):
    for_batch, for_image = MOST_WAITS[family]
    assert counted_by_pytorch(make_work(family, 2, "cuda")) <= for_batch + 2 * for_image


def test_what_waits_is_counted():
    values, mask = torch.arange(3.0), torch.tensor([True, False, True])
    calls = {
        "nonzero": lambda: mask.nonzero(),
        "_local_scalar_dense": lambda: float(values.sum()),
        "index by a mask": lambda: values[mask],
        "index_put_ by a mask": lambda: values.index_put_((mask,), torch.ones(2)),
        "masked_select": lambda: values.masked_select(mask),
        "equal": lambda: torch.equal(values, values),
        "tolist": lambda: values.tolist(),
        "numpy": lambda: values.numpy(),
        "cpu": lambda: values.cpu(),
        "to": lambda: values.to("cpu"),
        "tensor": lambda: torch.tensor([1.0, 2.0]),
        "new_tensor": lambda: values.new_tensor([1.0, 2.0]),
        "as_tensor": lambda: torch.as_tensor([1.0, 2.0]),
        "is_nonzero": lambda: bool(mask.any()),
    }
    for name, call in calls.items():
        waits = counted(call)
        assert waits.total() == 1, (name, waits)
        assert name in waits or name == "is_nonzero", waits


def test_what_does_not_wait_is_not_counted():
    values, mask = torch.arange(3.0), torch.tensor([True, False, True])

    def work():
        values.to(torch.float64).topk(2)
        values[torch.arange(2)].clamp(min=0)
        values.masked_fill(mask, 0)
        values[mask] = 1.0
        torch.as_tensor(values)
        torch.where(mask, values, 0)

    index = torch.arange(2)
    assert not counted(work)
    assert not counted(lambda: values[index])
