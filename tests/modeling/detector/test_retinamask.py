"""RetinaNet with a mask head on its detections, as a whole."""

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_optimizer
from tests.factories import target_with_masks

CONFIG = "configs/retinamask/retinamask_R_50_FPN_ms_2x.yaml"
SIZE_WH = (96, 64)


def make_config(*options):
    cfg = get_default_config()
    cfg.merge_from_file(CONFIG)
    cfg.merge_from_list(
        [
            *("MODEL.BACKBONE.CONV_BODY", "MNV2-FPN-RETINANET", "MODEL.WEIGHT", ""),
            *("MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 32, "MODEL.NUM_CLASSES", 4),
            *("MODEL.RETINANET.NUM_CONVS", 1, "MODEL.ROI_MASK_HEAD.CONV_LAYERS", (16,)),
            *options,
        ]
    )
    return cfg


def make_model(*options):
    torch.manual_seed(0)
    return build_detection_model(make_config(*options))


def make_images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 50


@pytest.mark.parametrize("num_boxes", [(2, 1), (2, 0), (0, 0)])
def test_a_step_changes_every_trained_parameter(num_boxes):
    cfg = make_config("SOLVER.WEIGHT_DECAY", 0.0)
    model = make_model().train()
    optimizer = make_optimizer(cfg, model)
    targets = [target_with_masks(n, SIZE_WH, seed=i) for i, n in enumerate(num_boxes)]
    losses = model(make_images(), targets)
    assert set(losses) == {"loss_retina_cls", "loss_retina_reg", "loss_mask"}
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    optimizer.step()
    if sum(num_boxes) == 0:
        assert losses["loss_mask"].item() == losses["loss_retina_reg"].item() == 0
    else:
        assert model.rpn.loss.box_loss.running_var.max() > 0
        assert losses["loss_mask"].item() > 0


def test_the_best_detections_have_masks():
    model = make_model("MODEL.RETINANET.INFERENCE_TH", 0.0, "MODEL.RETINANET.NUM_MASKS_TEST", 6)
    with torch.no_grad():
        detections = model.eval()(make_images())
    for boxes in detections:
        assert len(boxes) == 6
        assert boxes.get_field("mask").shape == (6, 1, 28, 28)
        assert set(boxes.fields()) == {"labels", "scores", "mask"}


def test_nothing_found_is_no_masks():
    with torch.no_grad():
        detections = make_model("MODEL.RETINANET.INFERENCE_TH", 1.0).eval()(make_images())
    assert [len(boxes) for boxes in detections] == [0, 0]


def test_a_checkpoint_keeps_the_width_of_the_box_loss():
    model = make_model()
    model.rpn.loss.box_loss.running_mean.fill_(0.05)
    other = make_model()
    other.load_state_dict(model.state_dict())
    assert other.rpn.loss.box_loss.running_mean.tolist() == pytest.approx([0.05] * 4)
