import logging

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine import mixed_precision
from maskrcnn_benchmark.engine.mixed_precision import training_dtype

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


@pytest.fixture(params=[True, False])
def has_bfloat16(request, monkeypatch):
    """Whether processor and GPU have instructions for bfloat16."""
    has = request.param
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the card {device}")
    return has


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_off_is_float32_and_auto_what_the_device_can(device, has_bfloat16):
    assert training_dtype("off", device) == torch.float32
    expected = torch.bfloat16 if has_bfloat16 else torch.float32
    assert training_dtype("auto", device) == expected


def test_bf16_on_a_processor_without_it_is_a_warning(has_bfloat16, caplog):
    with caplog.at_level(logging.WARNING, mixed_precision.__name__):
        assert training_dtype("bf16", CPU) == torch.bfloat16
    assert ("SOLVER.AMP" in caplog.text) is not has_bfloat16


def test_bf16_on_a_card_without_it_is_an_error(has_bfloat16):
    if has_bfloat16:
        assert training_dtype("bf16", CUDA) == torch.bfloat16
    else:
        with pytest.raises(ConfigError, match=r"SOLVER\.AMP.*the card cuda:0.*'fp16' or 'off'"):
            training_dtype("bf16", CUDA)


def test_fp16_is_for_cuda():
    assert training_dtype("fp16", CUDA) == torch.float16
    with pytest.raises(ConfigError, match=r"SOLVER\.AMP.*on cpu; set 'bf16' or 'off'"):
        training_dtype("fp16", CPU)


def test_another_name_is_an_error():
    with pytest.raises(ConfigError, match=r"SOLVER\.AMP: .*'off', 'bf16', 'fp16', 'auto'.*'O1'"):
        training_dtype("O1", CPU)
