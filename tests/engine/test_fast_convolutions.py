import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.fast_convolutions import choose_convolutions
from maskrcnn_benchmark.engine.modes.fused_layers import WinogradConv2d, can_be_fused
from maskrcnn_benchmark.engine.modes.tracing import trace
from maskrcnn_benchmark.layers import MinimalConv2d

CPU = torch.device("cpu")


@pytest.fixture
def kernel(monkeypatch):
    """Says whether there is a kernel for convolutions on the device."""

    def be(there):
        monkeypatch.setattr(WinogradConv2d, "has_kernel", staticmethod(lambda device: there))

    return be


class OwnConv2d(nn.Conv2d):
    """Another kind of convolution, which stays what it is."""


def make_model():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2),
        nn.Conv2d(16, 16, 3, padding=1),
        OwnConv2d(16, 16, 3, padding=1),
        nn.Conv2d(16, 16, 1),
    )


def kinds(model):
    return [type(each) for each in model]


PLAIN = [nn.Conv2d, nn.Conv2d, OwnConv2d, nn.Conv2d]
FAST = [nn.Conv2d, MinimalConv2d, OwnConv2d, nn.Conv2d]


@pytest.mark.parametrize(
    ("how", "there", "expected"),
    [
        ("plain", True, PLAIN),
        ("plain", False, PLAIN),
        ("auto", True, FAST),
        ("auto", False, PLAIN),
        ("fast", True, FAST),
    ],
)
def test_which_convolutions_change(kernel, how, there, expected):
    kernel(there)
    model = make_model()
    names, objects = list(model.state_dict()), list(model.modules())
    choose_convolutions(model, how, CPU)
    assert kinds(model) == expected
    assert list(model.state_dict()) == names
    assert all(a is b for a, b in zip(model.modules(), objects, strict=True))


def test_plain_takes_the_fast_ones_back(kernel):
    kernel(True)
    model = make_model()
    choose_convolutions(model, "fast", CPU)
    choose_convolutions(model, "plain", CPU)
    assert kinds(model) == PLAIN


def test_fast_without_a_kernel_is_refused(kernel):
    kernel(False)
    with pytest.raises(ConfigError, match=r"SOLVER\.CONV_3X3.*'fast'.*cpu"):
        choose_convolutions(make_model(), "fast", CPU)


def test_other_names_are_refused():
    with pytest.raises(ConfigError, match=r"SOLVER\.CONV_3X3.*'winograd'"):
        choose_convolutions(make_model(), "winograd", CPU)


def test_what_rewrites_models_for_evaluation_finds_the_same_layers(kernel):
    kernel(True)

    def called(how):
        model = make_model()
        choose_convolutions(model, how, CPU)
        traced = trace(model.eval(), [torch.zeros(1, 3, 9, 9)])
        return [(node.op, node.target) for node in traced.graph.nodes]

    assert called("fast") == called("plain")
    model = make_model()
    choose_convolutions(model, "fast", CPU)
    assert all(map(can_be_fused, model))
