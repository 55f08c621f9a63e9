"""The backward passes that add with atomics on CUDA heed torch.use_deterministic_algorithms."""

import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from maskrcnn_benchmark.layers._ops import OPERATORS
from maskrcnn_benchmark.layers._ops.operator import with_alert_on_cuda
from tests.contract.source_tree import ROOT


@pytest.fixture
def deterministic():
    """Demand deterministic algorithms; call it again to only be warned."""
    yield lambda **words: torch.use_deterministic_algorithms(True, **words)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=["cpu", "cuda"])
def grad(request):
    with FakeTensorMode():
        return torch.empty(3, device=request.param)


def backward(ctx, *grads):
    return ctx, len(grads)


def test_nothing_is_said_unless_it_was_asked_for(grad):
    assert with_alert_on_cuda("pool", backward)("ctx", grad, None) == ("ctx", 2)


def test_a_demand_is_an_error_on_cuda_alone(grad, deterministic):
    deterministic()
    alerting = with_alert_on_cuda("pool", backward)
    if grad.device.type == "cpu":
        assert alerting("ctx", grad) == ("ctx", 1)
    else:
        with pytest.raises(RuntimeError, match=r"\bpool\b.*CUDA"):
            alerting("ctx", None, grad)


def test_a_wish_is_a_warning_on_cuda_alone(grad, deterministic):
    deterministic(warn_only=True)
    alerting = with_alert_on_cuda("pool", backward)
    if grad.device.type == "cpu":
        assert alerting("ctx", grad) == ("ctx", 1)
    else:
        with pytest.warns(UserWarning, match=r"\bpool\b.*CUDA"):
            assert alerting("ctx", grad) == ("ctx", 1)


def test_the_operators_marked_are_those_whose_kernels_have_atomics():
    """As far as files tell: each that adds with atomics registers the gradient of one marked."""
    marked = {operator.name for operator in OPERATORS if operator.atomic_backward}
    texts = [path.read_text() for path in (ROOT / "csrc").rglob("*.cu")]
    registered = [
        set(re.findall(r'm\.impl\("(\w+)_backward"', text))
        for text in texts
        if "atomicAdd(" in text
    ]
    assert all(names & marked for names in registered)
    assert marked <= set().union(*registered)
