import copy

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.engine.modes import rewrite as rewriting
from maskrcnn_benchmark.engine.modes.fused_layers import FusedConv2d
from maskrcnn_benchmark.engine.modes.rewrite import rewrite
from tests.engine.modes.families import make_images, make_model

CPU = torch.device("cpu")


class Detector(nn.Module):
    """Any model that is called with images: a part, and what depends on sizes."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, images):
        maps = self.part(images.tensors)
        return [maps] * len(images.image_sizes)


class SizedConv(nn.Module):
    """Cannot be traced, and reads the weights of its convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x):
        if x.shape[-1] < 0 or self.conv.weight.sum() > 1e6:
            raise ValueError
        return self.inner(self.conv(x))


def has_fused(module):
    return any(isinstance(layer, FusedConv2d) for layer in module.modules())


@torch.no_grad()
def test_parts_inside_what_cannot_be_traced_are_replaced():
    model, images = Detector(SizedConv()).eval(), make_images()
    twin = rewrite(model, CPU, torch.float32)
    assert has_fused(twin.part.inner)
    assert type(twin.part) is SizedConv
    torch.testing.assert_close(twin(images), model(images), rtol=1e-4, atol=1e-3)
    assert not has_fused(model)


def test_hooks_stay():
    model, images = Detector(nn.Sequential(nn.Conv2d(3, 2, 1))).eval(), make_images()
    model.part.register_forward_hook(lambda _module, _inputs, output: output * 0 + 7)
    assert (rewrite(model, CPU, torch.float32)(images)[0] == 7).all()


class Tripled(nn.Module):
    """Three times a convolution, which may fold."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.conv(x) + self.conv(x) + self.conv(x)

    def folded(self):
        conv = copy.deepcopy(self.conv)
        conv.weight *= 3
        conv.bias *= 3
        return nn.Sequential(conv)


class Doubled(Tripled):
    """Inherits what folds another computation."""

    def forward(self, x):
        return self.conv(x) + self.conv(x)


@pytest.mark.parametrize(("kind", "num_convs"), [(Tripled, 1), (Doubled, 2)])
@torch.no_grad()
def test_parts_fold_as_the_class_says_that_computes(kind, num_convs):
    model, images = Detector(kind()).eval(), make_images()
    model.part.register_forward_hook(lambda _module, _inputs, output: output + 7)
    twin = rewrite(model, CPU, torch.float32)
    calls = [node for node in twin.part.graph.nodes if node.op == "call_module"]
    assert len(calls) == num_convs
    torch.testing.assert_close(twin(images), model(images), rtol=1e-4, atol=1e-3)


def test_a_model_without_convolutions_is_copied():
    model = nn.Linear(2, 2)
    twin = rewrite(model, CPU, torch.float32)
    assert twin is not model
    assert torch.equal(twin.weight, model.weight)


def test_a_copy_that_computes_something_else_is_refused(monkeypatch):
    def break_weights(traced, **_types):
        for layer in traced.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = layer.weight.data + 1

    monkeypatch.setattr(rewriting, "fuse", break_weights)
    with pytest.raises(ConfigError, match=r"TEST\.INFERENCE_MODE.*something else.*plain"):
        rewrite(Detector(nn.Sequential(nn.Conv2d(3, 2, 1))).eval(), CPU, torch.float32)


class Restless(nn.Module):
    """Makes a hundred thousand times as much of each rounding."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        return self.last(torch.sin(1e5 * self.norm(self.conv(x))))


@torch.no_grad()
def test_a_part_that_lets_rounding_grow_is_replaced():
    torch.manual_seed(0)
    model = Detector(nn.Sequential(Restless())).eval()
    model.part[0].norm.running_mean.uniform_()
    assert has_fused(rewrite(model, CPU, torch.float32))


@torch.no_grad()
def test_a_shared_extractor_stays_shared():
    twin = rewrite(make_model("Mask R-CNN, C4"), CPU, torch.float32)
    heads = twin.roi_heads
    assert heads["mask"].feature_extractor is heads["box"].feature_extractor
    assert has_fused(heads["box"].feature_extractor)


@torch.no_grad()
def test_each_evaluation_sees_the_weights_of_its_time():
    model, images = make_model("FCOS").train(), make_images()
    runner = ModelRunner(model, device=CPU, mode="fast")
    with runner.evaluating() as detect:
        first = detect(images)
    with runner.evaluating() as detect:
        again = detect(images)
    model.rpn.head.scales[0].scale.mul_(0.5)
    with runner.evaluating() as detect:
        last = detect(images)
    assert torch.equal(first[0].bbox, again[0].bbox)
    assert not torch.equal(first[0].bbox, last[0].bbox)
    expected = copy.deepcopy(model).eval()(images)
    torch.testing.assert_close(last[0].bbox, expected[0].bbox, rtol=1e-4, atol=1e-2)
    assert model.training
    assert not has_fused(model)
