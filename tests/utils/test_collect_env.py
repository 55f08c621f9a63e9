import pytest
import torch

from maskrcnn_benchmark.layers import BuildRecord, OpsStatus, ops_status
from maskrcnn_benchmark.utils import collect_env


def test_names_versions_and_operators():
    text = collect_env.collect_env_info()
    assert torch.__version__ in text
    assert collect_env.describe_operators(ops_status()) in text
    for name in ("centermask", "Python", "CUDA", "operators", "torchvision", "hotcoco"):
        assert any(line.startswith(name) for line in text.splitlines())


def status(**values) -> OpsStatus:
    build = BuildRecord("auto", ("cpu",), "2.14.1", (), "nvcc was not found")
    defaults = OpsStatus(
        True, False, "lib.so", "loaded", "no kernels", {"nms_keep": ("cpu",)}, build
    )
    return defaults._replace(**values)


def test_says_why_operators_are_not_compiled():
    text = collect_env.describe_operators(status(compiled=False, reason="no compiler"))
    assert text.startswith("plain PyTorch")
    assert "no compiler" in text


def test_says_which_operators_are_compiled():
    assert collect_env.describe_operators(status()) == (
        "CPU compiled (lib.so), CUDA plain PyTorch: no kernels"
    )
    assert collect_env.describe_operators(status(cuda=True)) == (
        "CPU compiled, CUDA compiled (lib.so: loaded)"
    )


def test_says_which_kernels_there_are():
    kernels = {"nms_keep": ("cpu", "cuda"), "roi_align": ("cpu",), "other": ()}
    assert collect_env.describe_kernels(status(kernels=kernels)) == (
        "nms_keep: cpu, cuda; roi_align: cpu; other: plain PyTorch"
    )
    assert collect_env.describe_kernels(status(kernels={})) == "none"


def test_says_what_they_compute_in():
    assert "64" in collect_env.describe_registers(status(register_bytes=64))
    assert "PyTorch" in collect_env.describe_registers(status(register_bytes=0))


def test_says_how_they_were_built():
    both = BuildRecord("cuda", ("cpu", "cuda"), "2.14.1+cu130", ("8.0", "9.0+PTX"), "")
    assert collect_env.describe_build(both) == (
        "CENTERMASK_BUILD=cuda, against PyTorch 2.14.1+cu130, for cpu and cuda "
        "(compute capabilities 8.0, 9.0+PTX)"
    )
    assert collect_env.describe_build(status().build) == (
        "CENTERMASK_BUILD=auto, against PyTorch 2.14.1, for cpu; left out: nvcc was not found"
    )
    here = BuildRecord("cpu", ("cpu",), "2.14.1", (), "", ("avx2", "avx512f"))
    assert "avx512f" in collect_env.describe_build(here)
    none = BuildRecord("auto", (), None, (), "no compiler")
    assert collect_env.describe_build(none) == "CENTERMASK_BUILD=auto; left out: no compiler"
    assert collect_env.describe_build(None).startswith("unknown")


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
