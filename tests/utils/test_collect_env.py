import pytest
import torch

from maskrcnn_benchmark.layers import OpsStatus, ops_status
from maskrcnn_benchmark.utils import collect_env


def test_names_versions_and_operators():
    text = collect_env.collect_env_info()
    assert torch.__version__ in text
    assert collect_env.describe_operators(ops_status()) in text
    for name in ("centermask", "Python", "CUDA", "operators", "torchvision", "hotcoco"):
        assert any(line.startswith(name) for line in text.splitlines())


def test_says_why_operators_are_not_compiled():
    status = OpsStatus(compiled=False, cuda=False, library=None, reason="no compiler")
    text = collect_env.describe_operators(status)
    assert text.startswith("plain PyTorch")
    assert "no compiler" in text


@pytest.mark.parametrize(
    ("cuda", "words"),
    [
        (False, "CPU compiled, CUDA plain PyTorch, as the library has no CUDA kernels"),
        (True, "CPU compiled, CUDA compiled"),
    ],
)
def test_says_which_operators_are_compiled(cuda: bool, words: str):
    status = OpsStatus(compiled=True, cuda=cuda, library="lib.so", reason="loaded")
    assert collect_env.describe_operators(status) == f"{words} (lib.so: loaded)"


def test_says_why_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "CUDA 13.0, but finds no device" in collect_env.describe_cuda()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built for the CPU" in collect_env.describe_cuda()


def test_names_the_devices(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    assert collect_env.describe_cuda() == "13.0, 2 device(s): GPU 0, GPU 1"


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(collect_env, "_PACKAGES", ("no-such-package",))
    assert "no-such-package  not installed" in collect_env.collect_env_info()


def test_runs_as_a_program(capsys: pytest.CaptureFixture[str]):
    collect_env.main()
    assert capsys.readouterr().out == collect_env.collect_env_info() + "\n"
