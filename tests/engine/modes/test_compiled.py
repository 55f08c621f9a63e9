"""Compiled parts compute what the parts compute, for maps of any size."""

import copy
import logging

import pytest
import torch
from torch.utils import _pytree as pytree

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.modes.compiled import (
    CompiledPart,
    compile_for_any_size,
    with_compiled_parts,
)
from maskrcnn_benchmark.structures.image_list import to_image_list
from tests.engine.modes.families import (
    IN_16_BITS,
    IN_INTEGERS,
    differences,
    make_images,
    make_model,
)

CPU = torch.device("cpu")


def images_of(*size_hw, number=1):
    generator = torch.Generator().manual_seed(5)
    return to_image_list([50 * torch.randn(3, *size_hw, generator=generator)] * number, 32)


def assert_equal_detections(found, expected):
    for mine, other in zip(found, expected, strict=True):
        assert mine.fields() == other.fields()
        assert len(mine) == len(other)
        if len(other) > 0:
            distances, order = differences(mine, other)
            assert distances.max() < 0.01
            assert len(order.unique()) == len(order)


def traced(seen):
    """Follows a part as PyTorch does before it compiles, and notes that it did."""

    def backend(graph, _inputs):
        seen.append(graph)
        return graph.forward

    return lambda part: torch.compile(part, dynamic=True, backend=backend)


@pytest.mark.slow
@torch.no_grad()
def test_new_sizes_are_not_compiled_once_the_kinds_are_known_and_the_model_stays_as_it_is():
    """PyTorch tells apart wide and high maps, and large from small ones, but not their sizes."""
    torch._dynamo.reset()
    model, seen, numbers = make_model("CenterMask-Lite, VoVNet"), [], []
    before = copy.deepcopy(model.state_dict())
    detect = with_compiled_parts(INFERENCE_MODES["plain"], traced(seen))(model, CPU)
    for size in [(160, 256), (192, 320), (256, 160), (320, 320), (352, 288), (224, 416)]:
        images = images_of(*size)
        assert_equal_detections(detect(images), model(images))
        numbers.append(len(seen))
    assert numbers[0] > 0
    assert numbers[2] == numbers[-1]
    assert not any(isinstance(part, CompiledPart) for part in model.modules())
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("mode", ["fast", IN_16_BITS, IN_INTEGERS])
@torch.no_grad()
def test_weights_in_the_order_of_the_processor_are_put_in_order_first(mode):
    """The small model of one layer after the other is run as it is, without following it."""
    model, images = make_model("CenterMask, depthwise"), make_images()
    expected = INFERENCE_MODES[mode](model, CPU)
    detect = with_compiled_parts(INFERENCE_MODES[mode], lambda part: part)(model, CPU)
    packed = [part for part in detect.modules() if getattr(part, "is_packed", False)]
    assert not packed
    mine = pytree.tree_leaves(detect.rpn.head(detect.backbone(images.tensors)))
    others = pytree.tree_leaves(expected.rpn.head(expected.backbone(images.tensors)))
    for maps, other in zip(mine, others, strict=True):
        assert (maps - other).norm() <= (0.05 if mode == "bf16" else 1e-5) * other.norm()


def test_what_cannot_be_compiled_is_said():
    def without_compiler(_graph, _inputs):
        raise RuntimeError("g++: not found")

    part = torch.nn.Conv2d(3, 4, 1)
    compiled = CompiledPart(part, lambda part: torch.compile(part, backend=without_compiler))
    with pytest.raises(ConfigError, match=r"TEST\.INFERENCE_MODE.*without \+compile") as caught:
        compiled(torch.zeros(1, 3, 8, 8))
    assert "not found" in str(caught.value)


def test_the_log_says_how_long_it_took_once(caplog):
    part = CompiledPart(torch.nn.Conv2d(3, 4, 1), traced([]))
    with caplog.at_level(logging.INFO), torch.no_grad():
        for _ in range(2):
            part(torch.zeros(1, 3, 8, 8))
    assert len([r for r in caplog.records if "compiled Conv2d" in r.getMessage()]) == 1


@pytest.mark.slow
@torch.no_grad()
def test_code_that_pytorch_makes_is_for_any_size():
    part = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU()).eval()
    compiled = CompiledPart(part, compile_for_any_size)
    for size in [(32, 40), (48, 32), (17, 90)]:
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(compiled(x), part(x), rtol=1e-4, atol=1e-5)
