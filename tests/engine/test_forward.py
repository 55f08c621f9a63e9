import copy

import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.training import make_batch
from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.engine.forward import (
    ModelRunner,
    build_model,
    build_pretrained_model,
    make_training_runner,
)
from maskrcnn_benchmark.engine.inference import make_evaluation
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.model_serialization import undistributed
from tests.engine.oracle import FakeLoader, Oracle
from tests.engine.standins import TinyDetector, tiny_loader

CPU = torch.device("cpu")
CONFIG = "configs/quickstart/centermask_lite_M_v2_FPN_quickstart.yaml"


@pytest.fixture
def cfg():
    options = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", "INPUT.MIN_SIZE_TEST", 64]
    return load_settings(CONFIG, options)


@pytest.fixture
def modes(monkeypatch):
    """The registry, with the two modes of this file while a test runs."""
    registry = INFERENCE_MODES
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    registry.register("double", detect_in_double_precision)
    registry.register("bfloat16", detect_under_autocast)
    return registry


def detect_in_double_precision(model, device):
    """A copy of another type, as a file of its own would add it."""
    twin = copy.deepcopy(model).to(device, torch.float64)
    return lambda images: twin(images.to(torch.float64))


def detect_under_autocast(model, device):
    """The same model, computing in another type where that is safe."""

    def detect(images):
        with torch.autocast(device.type, torch.bfloat16):
            return model(images)

    return detect


def images_of(iteration=1):
    return next(iter(tiny_loader(iteration - 1, iteration)))[0]


def detections_of(model, images):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return model(images)


def test_the_plain_mode_is_the_model_itself():
    model, images = TinyDetector(), images_of()
    with ModelRunner(model, device=CPU).evaluating() as detect:
        found = detect(images)
    for mine, expected in zip(found, detections_of(model, images), strict=True):
        assert torch.equal(mine.bbox, expected.bbox)
        assert mine.bbox.device == CPU


@pytest.mark.parametrize("training", [True, False])
def test_the_former_mode_is_restored_even_after_a_failure(training):
    model = TinyDetector().train(training)
    seen = []

    def fail(images):
        seen.append((model.training, model.dropout.training, torch.is_grad_enabled()))
        raise ZeroDivisionError

    model.forward = fail
    with pytest.raises(ZeroDivisionError), ModelRunner(model, device=CPU).evaluating() as detect:
        detect(images_of())
    assert seen == [(False, False, False)]
    assert model.training == model.dropout.training == training
    assert torch.is_grad_enabled()


def test_losses_are_those_of_the_model_with_their_graph():
    model, (images, targets, ids) = TinyDetector(), next(iter(tiny_loader(0, 1)))
    torch.manual_seed(0)
    losses = ModelRunner(model, device=CPU).losses((images, targets, ids))
    torch.manual_seed(0)
    expected = model(images, targets)
    assert {name: loss.item() for name, loss in losses.items()} == {
        name: loss.item() for name, loss in expected.items()
    }
    assert all(loss.requires_grad for loss in losses.values())


@pytest.mark.parametrize("how", [False, True, "auto"])
def test_the_layout_is_that_of_the_settings(cfg, how):
    """Left to itself, only a training turns maps round."""
    cfg.MODEL.CHANNELS_LAST = how

    def turned(model):
        weight = model.backbone.body.features[0][0].weight
        return weight.is_contiguous(memory_format=torch.channels_last)

    assert turned(build_model(cfg, CPU)) is (how is True)
    model = make_training_runner(cfg, build_model(cfg, CPU), CPU).model
    assert turned(model) is bool(how)
    norms = [module for module in model.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert {norm.may_fold for norm in norms} == {bool(how)}


@pytest.mark.parametrize("how", ["auto", True])
def test_a_layout_changes_losses_by_rounding_alone(cfg, how):
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    torch.manual_seed(0)
    original = build_model(cfg, CPU)
    batch = make_batch((64, 96), 2, 3)
    losses = []
    for choice in (False, how):
        cfg.MODEL.CHANNELS_LAST = choice
        torch.manual_seed(1)
        runner = make_training_runner(cfg, copy.deepcopy(original), CPU)
        losses.append(runner.losses(batch))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)


def test_a_training_computes_in_the_type_of_the_settings(cfg):
    model = nn.Linear(3, 3)
    model.forward = lambda images, targets: {"loss": nn.Linear(3, 3)(torch.ones(1, 3)).sum()}
    batch = next(iter(tiny_loader(0, 1)))
    cfg.SOLVER.AMP = "bf16"
    assert make_training_runner(cfg, model, CPU).losses(batch)["loss"].dtype == torch.bfloat16
    # Evaluation has settings of its own.
    assert ModelRunner.from_config(cfg, model, CPU).losses(batch)["loss"].dtype == torch.float32


def test_an_unknown_mode_is_named(cfg):
    cfg.TEST.INFERENCE_MODE = "int1"
    with pytest.raises(ConfigError, match=r"TEST\.INFERENCE_MODE.*'int1'; known: .*fast, .*plain"):
        build_model(cfg, CPU)


def test_a_mode_from_outside_predicts(cfg, modes):
    torch.manual_seed(0)
    model, photo = TinyDetector(), Image.radial_gradient("L").resize((40, 30))
    plain = Predictor.from_config(cfg, model=model)(photo)
    cfg.TEST.INFERENCE_MODE = "double"
    predictor = Predictor.from_config(cfg, model=model)
    found = predictor(photo)
    images = to_image_list([build_transforms(cfg, False)(photo.convert("RGB"))[0]], 32)
    (expected,) = detections_of(model.double(), images.to(torch.float64))
    assert torch.equal(found.bbox, expected.resize(photo.size).bbox)
    # The types round differently.
    assert not torch.equal(found.bbox, plain.bbox)
    torch.testing.assert_close(found.bbox, plain.bbox, rtol=1e-4, atol=1e-4)


class AutocastOracle(Oracle):
    """Remembers in which type a matrix product is computed."""

    def __init__(self):
        super().__init__()
        self.linear, self.dtypes = nn.Linear(1, 1), []

    def forward(self, images, targets=None):
        self.dtypes.append(self.linear(torch.ones(1, 1)).dtype)
        return super().forward(images, targets)


@pytest.mark.parametrize(("mode", "dtype"), [("plain", "float32"), ("bfloat16", "bfloat16")])
def test_a_mode_from_outside_is_evaluated(cfg, modes, tmp_path, mode, dtype):
    cfg.TEST.INFERENCE_MODE, cfg.OUTPUT_DIR = mode, str(tmp_path)
    model = AutocastOracle()
    runner = ModelRunner.from_config(cfg, model, CPU)
    result = make_evaluation(cfg, runner, "fake", FakeLoader([11, 12, 13]))()
    assert result.metrics["bbox"]["AP"] == pytest.approx(100)
    assert model.dtypes == [getattr(torch, dtype)] * 3


def test_a_model_is_evaluated_without_its_wrapper_for_several_devices():
    """Processes may have different numbers of batches; a compiled model stays compiled."""
    model = TinyDetector()
    compiled = torch.compile(model, backend="eager")
    assert undistributed(model) is model
    assert undistributed(nn.DataParallel(model)) is model
    assert undistributed(nn.DataParallel(compiled)) is compiled
    assert undistributed(compiled) is compiled
    assert undistributed(torch.compile(nn.DataParallel(model), backend="eager")) is model
    with ModelRunner(compiled.train(), device=CPU).evaluating() as detect:
        assert not model.training
        assert len(detect(images_of())) == 2
    assert model.training


def test_a_pretrained_model_fits_exactly_and_is_ready(cfg, tmp_path):
    cfg.OUTPUT_DIR = str(tmp_path)
    torch.manual_seed(0)
    source = build_model(cfg, CPU)
    torch.save({"model": source.state_dict()}, tmp_path / "mine.pth")
    model = build_pretrained_model(cfg, CPU, str(tmp_path / "mine.pth"))
    assert not model.training
    torch.testing.assert_close(model.state_dict(), source.state_dict(), rtol=0, atol=0)
    with pytest.raises(CheckpointError, match=r"expected MODEL\.WEIGHT"):
        build_pretrained_model(cfg, CPU)
