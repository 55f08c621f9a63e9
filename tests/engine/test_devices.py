"""Models on a GPU do what they do on the CPU. Here the same tests compare the CPU with itself."""

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.data.collate_batch import Batch
from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.engine.trainer import Trainer
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.image_list import ImageList
from tests.factories import target_with_masks

CPU = torch.device("cpu")
IMAGE_HW = (128, 192)
SMALL = (
    *("MODEL.WEIGHT", "", "MODEL.NUM_CLASSES", 4, "MODEL.MASKIOU_ON", True),
    *("MODEL.FCOS.INFERENCE_TH", 0.0, "MODEL.FCOS.PRE_NMS_TOP_N", 50),
    *("TEST.DETECTIONS_PER_IMG", 20),
)

devices = pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
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


@pytest.fixture
def cfg():
    return load_settings("configs/quickstart/centermask_lite_M_v2_FPN_quickstart.yaml", SMALL)


def make_model(cfg):
    torch.manual_seed(0)
    return build_detection_model(cfg)


def make_images(number=2):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(number, 3, 8, 12, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, IMAGE_HW, mode="bilinear")
    return ImageList(pixels, [IMAGE_HW] * number)


def detect(cfg, device, mode="plain"):
    cfg.TEST.INFERENCE_MODE = mode
    runner = ModelRunner.from_config(cfg, make_model(cfg), torch.device(device))
    with runner.evaluating() as found:
        return found(make_images())


def matches(expected, found):
    """For each expected box the like-labelled found one that overlaps most, and by how much."""
    overlaps = boxlist_iou(expected, found)
    return (overlaps * (expected.labels[:, None] == found.labels[None])).max(dim=1)


@devices
def test_detections_are_those_of_the_cpu(cfg, device):
    for expected, found in zip(detect(cfg, "cpu"), detect(cfg, device), strict=True):
        overlap, partner = matches(expected, found)
        # Of equal scores at the limit another box may stay.
        like = overlap > 0.99
        assert like.float().mean() > 0.9
        scores = found.scores[partner][like]
        torch.testing.assert_close(scores, expected.scores[like], rtol=1e-3, atol=1e-4)
        masks = found.predicted_masks[partner[like]].planes()
        others = expected.predicted_masks[like].planes()
        assert (masks != others).float().mean() < 0.01


@devices
@pytest.mark.parametrize("mode", INFERENCE_MODES.names())
def test_every_mode_finds_what_the_plain_one_finds_there(cfg, device, mode):
    plain = detect(cfg, device)
    try:
        found = detect(cfg, device, mode)
    except ConfigError as error:
        pytest.skip(f"{mode} refuses this machine: {error}")
    for expected, boxes in zip(plain, found, strict=True):
        overlap, partner = matches(expected, boxes)
        like = overlap > 0.9
        assert like.float().mean() > 0.8
        scores = boxes.scores[partner][like]
        torch.testing.assert_close(scores, expected.scores[like], rtol=0.05, atol=0.02)


def losses_of_a_step(cfg, device):
    """Losses before and after an optimizer step."""
    device = torch.device(device)
    model = make_model(cfg)
    runner = ModelRunner.from_config(cfg, model, device)
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
    batch = Batch(make_images(), targets, (0, 1))
    model.train()
    return [trainer.run_step(batch)[0] for _ in range(2)]


@devices
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_step_has_the_losses_of_the_cpu(cfg, device, channels_last):
    expected = losses_of_a_step(cfg, CPU)
    cfg.MODEL.CHANNELS_LAST = channels_last
    first, second = losses_of_a_step(cfg, device)
    assert first == pytest.approx(expected[0], rel=1e-3, abs=1e-4)
    # One step of training makes small differences larger.
    assert second == pytest.approx(expected[1], rel=0.02, abs=0.01)
