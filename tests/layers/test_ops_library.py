"""Why the compiled library is used or not: what ``ops_status()`` says."""

import json
import os

import pytest
import torch

from maskrcnn_benchmark.layers import BuildRecord, _ops
from maskrcnn_benchmark.layers._ops import library
from maskrcnn_benchmark.layers._ops.operator import NAMESPACE, Operator, _announced

CPU = {"mode": "auto", "devices": ["cpu"], "torch": "2.14.1", "archs": [], "missing": "no nvcc"}
CUDA = {**CPU, "devices": ["cpu", "cuda"], "archs": ["9.0+PTX"], "missing": ""}
NOTHING = {**CPU, "devices": [], "torch": None, "missing": "no compiler"}


@pytest.fixture
def package(monkeypatch, tmp_path):
    """An empty folder in the place of the package's."""
    monkeypatch.delenv(library.OPS_VARIABLE, raising=False)
    monkeypatch.setattr(library, "_package", lambda: tmp_path)
    monkeypatch.setattr(library, "version", lambda name: "99.0")
    return tmp_path


def status(package, record=None, torch_version=None, monkeypatch=None):
    if record is not None:
        (package / "_build.json").write_text(json.dumps(record))
    if torch_version is not None:
        monkeypatch.setattr(library, "version", lambda name: torch_version)
    found = library.load_library(_ops.SCHEMAS)
    assert not found.compiled
    assert not found.cuda
    assert found.kernels == {}
    return found


def assert_names(text, *words):
    """A reason is words for the user: what counts is that it names these."""
    assert [word for word in words if word not in text] == []


def test_nothing_built_names_the_command(package):
    assert_names(status(package).reason, "python setup.py build_ext --inplace")


def test_a_build_without_the_library_is_the_reason(package):
    found = status(package, NOTHING)
    assert_names(found.reason, NOTHING["missing"])
    assert found.build == BuildRecord("auto", (), None, (), "no compiler")


@pytest.mark.parametrize(
    ("record", "installed", "oldest"),
    [(None, "2.9.1+cpu", "2.10"), (CPU, "2.9.1", "2.10"), (CUDA, "2.9.1+cu130", "2.10")],
)
def test_old_torch_is_the_reason(package, monkeypatch, record, installed, oldest):
    path = package / "_C.abi3.so"
    path.touch()
    found = status(package, record, installed, monkeypatch)
    assert_names(found.reason, f"torch {installed} ", f" {oldest}", str(path))


def test_unloadable_library_is_the_reason(package):
    path = package / "_C.abi3.so"
    path.write_bytes(b"not a library")
    reason = status(package, CPU).reason
    # Of the loader's own words only that they are there.
    assert_names(reason, f"{path} ", f"torch {torch.__version__}: ")
    assert not reason.endswith(": ")


def test_missing_symbols_are_explained(package, monkeypatch):
    path = package / "_C.abi3.so"
    path.touch()

    def load(path):
        cause = OSError(f"{path}: undefined symbol: torch_stream_native_handle")
        raise OSError("Could not load this library") from cause

    monkeypatch.setattr(torch.ops, "load_library", load)
    reason = status(package).reason
    assert_names(reason, "torch_stream_native_handle", "2.10", str(path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mode": "auto", "devices": 3}'])
def test_a_broken_record_counts_as_none(package, text):
    (package / "_build.json").write_text(text)
    assert library.read_build_record() is None


def test_why_cuda_is_not_compiled(package, monkeypatch):
    (package / "_C.abi3.so").touch()
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    monkeypatch.setattr(library, "_register_bytes", lambda path: 32)
    reasons = []
    for record in ({**CPU, "missing": "nvcc was not found"}, {}):
        (package / "_build.json").write_text(json.dumps(record))
        found = library.load_library({})
        assert found.compiled
        assert not found.cuda
        assert found.register_bytes == 32
        reasons.append(found.cuda_reason)
    assert_names(reasons[0], "CUDA", "nvcc was not found")
    assert_names(reasons[1], "CUDA")


def test_a_processor_without_what_the_library_needs_does_not_load_it(package, monkeypatch):
    path = package / "_C.abi3.so"
    path.touch()
    loaded = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(library, "_processor_features", lambda: frozenset(("fma", "avx2")))
    found = status(package, {**CPU, "processor": ["avx2", "avx512f"]})
    assert "avx2" not in found.reason
    assert_names(found.reason, "avx512f", str(path), "python setup.py build_ext --inplace")
    assert found.build.processor == ("avx2", "avx512f")
    assert loaded == []
    assert found.register_bytes == 0


@pytest.mark.parametrize("has", [("fma", "avx2"), ()])
def test_where_nothing_is_lacking_or_told_the_library_is_loaded(package, monkeypatch, has):
    (package / "_C.abi3.so").touch()
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    monkeypatch.setattr(library, "_register_bytes", lambda path: 32)
    monkeypatch.setattr(library, "_processor_features", lambda: frozenset(has))
    (package / "_build.json").write_text(json.dumps({**CPU, "processor": ["avx2"]}))
    assert library.load_library({}).compiled


def test_a_library_that_does_not_tell_its_registers_is_of_other_sources(package, monkeypatch):
    (package / "_C.abi3.so").touch()
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    monkeypatch.setattr(library, "_register_bytes", lambda path: None)
    with pytest.raises(ImportError, match="centermask_register_bytes"):
        library.load_library({})


@pytest.mark.skipif(not _ops.STATUS.compiled, reason=_ops.STATUS.reason)
@pytest.mark.skipif(
    "ATEN_CPU_CAPABILITY" in os.environ, reason="PyTorch was told what the processor is"
)
def test_registers_are_those_of_the_processor_that_the_library_was_compiled_for():
    found, needs = _ops.STATUS.register_bytes, set(getattr(_ops.STATUS.build, "processor", ()))
    if needs:
        assert found == (64 if "avx512f" in needs else 32 if {"avx2", "fma"} <= needs else 0)
    else:
        # For all levels, or for none.
        widest = {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability(), 0)
        assert found in (0, widest)
    if "cpu" in _ops.STATUS.kernels["winograd_conv3x3_int16"]:
        assert found == 64


def test_cuda_without_kernels_warns_once():
    _ops._warn_about_cuda.cache_clear()
    with pytest.warns(RuntimeWarning, match="CUDA"):
        _ops._warn_about_cuda()
    _ops._warn_about_cuda()
    _ops._warn_about_cuda.cache_clear()


def test_the_twin_on_cuda_is_announced():
    calls = []
    fragment = torch.library.Library(NAMESPACE, "FRAGMENT")
    operator = Operator(
        name="double_for_a_test",
        schema="(Tensor x) -> Tensor",
        reference=lambda x: 2 * x,
        fake=torch.empty_like,
    )
    operator.register(fragment, define=True, before_cuda=lambda: calls.append("told"))
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    assert has_kernel(f"{NAMESPACE}::{operator.name}", "CUDA")
    assert torch.ops.centermask.double_for_a_test(torch.ones(1)) == 2
    assert calls == []
    assert _announced(abs, lambda: calls.append("told"))(-3) == 3
    assert calls == ["told"]
