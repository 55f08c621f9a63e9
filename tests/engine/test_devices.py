"""Models on a GPU do what they do on the CPU.

Without a GPU the same tests run on a pretended device, which computes on the CPU but refuses what a
GPU refuses: a tensor of the CPU beside one of its own.
"""

from contextlib import contextmanager

import pytest
import torch

from benchmarks.gpu.scenes import Scene, make_images, make_model, read_settings
from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.data.collate_batch import Batch
from maskrcnn_benchmark.engine.forward import ModelRunner, make_training_runner
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.trainer import Trainer
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from tests.factories import target_with_masks
from tests.pretended_device import pretended_device

CPU = torch.device("cpu")
CENTERMASK = "quickstart/centermask_lite_M_v2_FPN_quickstart"
CONFIGS = (
    CENTERMASK,
    "retinanet/retinanet_R-50-FPN_1x",
    "e2e_mask_rcnn_R_50_FPN_1x",
    "e2e_keypoint_rcnn_R_50_FPN_1x",
)
IMAGE_HW = (64, 96)
# Every prediction is a candidate, so that there are detections.
SMALL = (
    *("MODEL.MASKIOU_ON", True, "TEST.DETECTIONS_PER_IMG", 20),
    *("MODEL.FCOS.INFERENCE_TH", 0.0, "MODEL.FCOS.PRE_NMS_TOP_N", 50),
    *("MODEL.RETINANET.INFERENCE_TH", 0.0, "MODEL.RETINANET.PRE_NMS_TOP_N", 50),
    *("MODEL.ROI_HEADS.SCORE_THRESH", 0.0, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 20),
    *("MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 50),
)

devices = pytest.mark.parametrize(
    "name",
    [
        pytest.param("pretended", marks=pytest.mark.slow),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
)


@pytest.fixture(autouse=True)
def _without_tf32():
    """Products of 32 bits, as on the CPU; by default a GPU rounds their factors to 10 bits."""
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    yield
    for kind, precision in zip(kinds, before, strict=True):
        kind.fp32_precision = precision


@contextmanager
def made(name):
    if name == "pretended":
        with pretended_device() as device:
            yield device
    else:
        yield torch.device(name)


def settings(config):
    cfg = read_settings(config, CPU)
    cfg.merge_from_list([*SMALL])
    if config != CENTERMASK:
        cfg.MODEL.MASKIOU_ON = False
    return cfg


def detect(cfg, device):
    images = make_images(Scene("", IMAGE_HW, batch=2), CPU)
    cfg.TEST.INFERENCE_MODE = "plain"
    # Made on the CPU, so that it is the same everywhere.
    model = make_model(cfg, images, CPU)
    with ModelRunner.from_config(cfg, model, device).evaluating() as found:
        return found(images)


def matches(expected, found):
    """For each expected box the like-labelled found one that overlaps most, and by how much."""
    overlaps = boxlist_iou(expected, found)
    return (overlaps * (expected.labels[:, None] == found.labels[None])).max(dim=1)


@devices
@pytest.mark.parametrize("config", CONFIGS)
def test_detections_are_those_of_the_cpu(name, config):
    everything = detect(settings(config), CPU)
    with made(name) as device:
        found = detect(settings(config), device)
    for expected, boxes in zip(everything, found, strict=True):
        assert len(boxes) > 0
        assert boxes.bbox.device == CPU
        overlap, partner = matches(expected, boxes)
        # Of equal scores at the limit another box may stay.
        like = overlap > 0.99
        assert like.float().mean() > 0.9
        scores = boxes.scores[partner][like]
        torch.testing.assert_close(scores, expected.scores[like], rtol=1e-3, atol=1e-4)
        if expected.has_field("mask"):
            planes = boxes.predicted_masks[partner[like]].planes()
            others = expected.predicted_masks[like].planes()
            assert (planes != others).float().mean() < 0.01


def dense_outputs(model, images):
    """All logits and all distances."""
    predicted = model.rpn.head(model.backbone(images.tensors))
    return [torch.cat([level.flatten() for level in kind]).cpu() for kind in (*predicted,)[:2]]


@devices
@pytest.mark.parametrize("mode", INFERENCE_MODES.names())
@torch.no_grad()
def test_every_mode_computes_nearly_what_the_model_computes_there(name, mode):
    cfg, images = settings(CENTERMASK), make_images(Scene("", IMAGE_HW, batch=2), CPU)
    model = make_model(cfg, images, CPU).eval()
    with made(name) as device:
        model, images = model.to(device), images.to(device)
        try:
            detect = INFERENCE_MODES[mode](model, device)
        except ConfigError as error:
            pytest.skip(f"{mode} refuses this machine: {error}")
        assert [len(boxes) for boxes in detect(images)] == [20, 20]
        expected, found = dense_outputs(model, images), dense_outputs(detect, images)
    # With random weights 16 bits are far from 32: as far on the CPU.
    for wanted, got, near in zip(expected, found, (0.05, 0.25), strict=True):
        assert (got - wanted).norm() <= near * wanted.norm()


def losses_of_two_steps(cfg, device):
    images = make_images(Scene("", IMAGE_HW, batch=2), CPU)
    model = make_model(cfg, images, CPU)
    runner = make_training_runner(cfg, model, device)
    optimizer = make_optimizer(cfg, runner.model)
    trainer = Trainer(
        runner=runner,
        data_loader=(),
        optimizer=optimizer,
        scheduler=make_lr_scheduler(cfg, optimizer),
        max_iter=2,
    )
    height, width = IMAGE_HW
    targets = tuple(target_with_masks(number, (width, height), seed=number) for number in (3, 0))
    runner.model.train()
    return [trainer.run_step(Batch(images, targets, (0, 1)))[0] for _ in range(2)]


@devices
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_step_has_the_losses_of_the_cpu(name, channels_last):
    cfg = settings(CENTERMASK)
    # Small steps: what training makes of rounding is none of a device's.
    cfg.merge_from_list(["MODEL.CHANNELS_LAST", False, "SOLVER.BASE_LR", 1e-5])
    # PyTorch steps AdamW in one kernel on devices that it knows alone.
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Masks that start at 1/2 are cut at 1/2: what the mask-IoU head learns is rounding's to decide.
    mask_head = cfg.MODEL.ROI_MASK_HEAD
    mask_head.LOGITS_INIT_STD = mask_head.ATTENTION_INIT_STD = 0.0
    expected = losses_of_two_steps(cfg, CPU)
    cfg.MODEL.CHANNELS_LAST = channels_last
    with made(name) as device:
        first, second = losses_of_two_steps(cfg, device)
    assert first == pytest.approx(expected[0], rel=1e-3, abs=1e-4)
    assert second == pytest.approx(expected[1], rel=0.01, abs=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize(("amp", "near"), [("bf16", 0.1), ("fp16", 0.02)])
def test_a_step_of_16_bits_has_nearly_the_losses_of_32(amp, near):
    cfg = settings(CENTERMASK)
    cfg.merge_from_list(["MODEL.CHANNELS_LAST", True, "SOLVER.BASE_LR", 1e-5])
    (expected, _), device = losses_of_two_steps(cfg, CPU), torch.device("cuda")
    cfg.SOLVER.AMP = amp
    for found in losses_of_two_steps(cfg, device):
        assert found["loss"] == pytest.approx(expected["loss"], rel=near)
