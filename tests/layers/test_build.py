"""The modes of setup.py and what csrc/toolchain.py finds; no operator is compiled here."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from torch.backends.cpu import get_cpu_capability as capability

ROOT = Path(__file__).parents[2]


def load_toolchain(folder=ROOT):
    path = folder / "csrc" / "toolchain.py"
    spec = importlib.util.spec_from_file_location("toolchain", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toolchain = load_toolchain()


def run_setup(folder, mode, **environment):
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", folder, "--build-temp", folder],
        cwd=ROOT,
        env={**os.environ, "CENTERMASK_BUILD": mode, "CCACHE_DISABLE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def record(folder):
    return json.loads((folder / "maskrcnn_benchmark" / "_build.json").read_text())


def program(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("mode", "variable", "value", "message"),
    [
        ("gpu", "CXX", "c++", "expected one of auto, cpu, cuda, none, got 'gpu'"),
        ("cpu", "CXX", "no-such-compiler", "compiler 'no-such-compiler' was not found"),
        ("cuda", "CXX", "no-such-compiler", "compiler 'no-such-compiler' was not found"),
    ],
)
def test_what_cannot_be_built_is_refused(tmp_path, mode, variable, value, message):
    done = run_setup(tmp_path, mode, **{variable: value})
    assert done.returncode == 1
    assert done.stderr.startswith(f"CENTERMASK_BUILD{'=' + mode if mode != 'gpu' else ''}: ")
    assert message in done.stderr


def test_auto_goes_on_without_a_compiler_and_says_so(tmp_path):
    done = run_setup(tmp_path, "auto", CXX="no-such-compiler")
    assert done.returncode == 0
    assert "building WITHOUT compiled operators: the C++ compiler" in done.stderr
    assert not list(tmp_path.rglob("*.so"))
    assert record(tmp_path)["devices"] == []
    assert "'no-such-compiler' was not found" in record(tmp_path)["missing"]


def test_none_builds_nothing_silently(tmp_path):
    done = run_setup(tmp_path, "none")
    assert done.returncode == 0
    assert "WITHOUT" not in done.stderr
    assert not list(tmp_path.rglob("*.so"))
    assert record(tmp_path)["missing"] == "CENTERMASK_BUILD=none asked for it"


def test_auto_goes_on_after_a_failed_compilation(tmp_path):
    done = run_setup(tmp_path, "auto", CXX="/bin/false")
    assert done.returncode == 0
    assert "building WITHOUT compiled operators: compiling" in done.stderr
    assert not list(tmp_path.rglob("*.so"))
    assert record(tmp_path)["devices"] == []


def test_cpu_ends_with_the_reason_after_a_failed_compilation(tmp_path):
    done = run_setup(tmp_path, "cpu", CXX="/bin/false")
    assert done.returncode == 1
    assert "CENTERMASK_BUILD=cpu: compiling" in done.stderr


def test_explicit_cuda_ends_with_the_reason_without_nvcc(monkeypatch, tmp_path):
    torch = toolchain.Torch(tmp_path, "2.14.1+cu130", "13.0")
    monkeypatch.setattr(toolchain.shutil, "which", lambda name, path=None: None)
    with pytest.raises(toolchain.Obstacle, match=r"13\.0 .*CUDA_HOME"):
        toolchain.find_nvcc(torch)


@pytest.mark.parametrize(
    ("version", "cuda", "release", "message"),
    [
        ("2.14.1+cpu", None, "13.0", r"2\.14\.1\+cpu\b.*CPU"),
        ("2.9.1+cu130", "13.0", "13.0", r"2\.9\.1\+cu130 .*2\.10\b"),
        ("2.14.1+cu130", "13.0", "11.8", r"11\.8.*C\+\+20"),
        ("2.14.1+cu126", "12.6", "13.0", r"CUDA 13\b.*12\.6"),
        ("2.14.1+cu130", "13.0", "?", r"nvcc --version.*\?"),
    ],
)
def test_an_nvcc_that_does_not_fit_is_refused(
    tmp_path, monkeypatch, version, cuda, release, message
):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "nvcc", f"echo Cuda compilation tools, release {release}, V1")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(toolchain.Obstacle, match=message):
        toolchain.find_nvcc(toolchain.Torch(tmp_path, version, cuda))


def test_the_nvcc_of_cuda_home_is_taken(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    nvcc = program(tmp_path / "bin", "nvcc", "echo Cuda compilation tools, release 12.8, V1")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    torch = toolchain.Torch(tmp_path, "2.14.1+cu130", "13.0")
    assert toolchain.find_nvcc(torch) == str(nvcc)


def test_auto_builds_the_cpu_part_when_there_is_no_nvcc(monkeypatch, tmp_path):
    import setup

    torch = toolchain.Torch(tmp_path, "2.14.1+cu130", "13.0")

    def no_nvcc(torch):
        raise setup.toolchain.Obstacle("nvcc was not found")

    monkeypatch.setattr(setup.toolchain, "find_torch", lambda: torch)
    monkeypatch.setattr(setup.toolchain, "find_nvcc", no_nvcc)
    monkeypatch.setenv("CXXFLAGS", "-march=x86-64")
    plan = setup.make_plan("auto")
    assert plan == setup.Plan("auto", ("cpu",), "2.14.1+cu130", (), "nvcc was not found")
    with pytest.warns(RuntimeWarning, match="CUDA operators.*nvcc"):
        setup.announce(plan)
    with pytest.raises(SystemExit, match=r"CENTERMASK_BUILD=cuda: .*nvcc"):
        setup.make_plan("cuda")


def test_a_cuda_failure_leaves_the_cpu_part(monkeypatch, tmp_path):
    import setup

    attempts = []

    def build_library(torch, archs, folder, library):
        attempts.append(archs)
        if archs:
            raise setup.toolchain.Obstacle("compiling nms.cu failed")
        library.write_text("")

    monkeypatch.setattr(setup.toolchain, "build_library", build_library)
    plan = setup.Plan("auto", ("cpu", "cuda"), "2.14.1", ("9.0",))
    builder, library = setup.Builder(plan), tmp_path / "_C.abi3.so"
    with pytest.warns(RuntimeWarning, match=r"CUDA operators.*nms\.cu"):
        builder.build(tmp_path, library)
    assert attempts == [("9.0",), ()]
    assert library.exists()
    assert builder.plan.devices == ("cpu",)
    with pytest.raises(SystemExit, match="CENTERMASK_BUILD=cuda: "):
        setup.Builder(setup.replace(plan, mode="cuda")).build(tmp_path, library)


OF_LEVEL_3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
OF_LEVEL_4 = OF_LEVEL_3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
IN_512 = "-mprefer-vector-width=512"


@pytest.mark.parametrize(
    ("macros", "refuses", "has", "flags"),
    [
        (["CM_HAS_TARGET_CLONES"], "nothing", OF_LEVEL_4, []),
        ([], "nothing", OF_LEVEL_4 | {"avx512_vnni"}, ["-march=x86-64-v4", "-mavx512vnni"]),
        ([], "nothing", OF_LEVEL_4, ["-march=x86-64-v4"]),
        ([], "v4", OF_LEVEL_4, ["-march=x86-64-v3"]),
        ([], "march", OF_LEVEL_4, []),
        ([], "nothing", OF_LEVEL_4 - {"fma"}, []),
        (["__clang__", "__AVX512F__"], "nothing", OF_LEVEL_4, [IN_512, "-march=x86-64-v4"]),
        (["__clang__"], "nothing", OF_LEVEL_3, ["-march=x86-64-v3"]),
        ([], "nothing", set(), []),
    ],
)
def test_compilers_for_one_processor_alone_compile_for_this_one(
    tmp_path, monkeypatch, macros, refuses, has, flags
):
    lines = "".join(f"#define {name} 1\\n" for name in ["__cplusplus", *macros])
    script = f"case \"$*\" in *{refuses}*) exit 1;; esac\nprintf '{lines}'"
    monkeypatch.setenv("CXX", str(program(tmp_path, "c++", script)))
    monkeypatch.delenv("CXXFLAGS", raising=False)
    monkeypatch.setattr(toolchain.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(toolchain, "processor_features", lambda: frozenset(has))
    assert toolchain.processor_flags() == flags
    torch = toolchain.Torch(tmp_path, "2.14.1", None)
    command = toolchain.cxx_command(torch)
    assert [word for word in command if word.startswith(("-march=", "-mavx", IN_512))] == flags
    # What users choose is not chosen for them.
    for word in ("-march=x86-64", "-mavx2", "-mno-avx512f"):
        monkeypatch.setenv("CXXFLAGS", word)
        assert [flag for flag in toolchain.processor_flags() if flag != IN_512] == []


@pytest.mark.skipif(
    platform.machine() != "x86_64" or shutil.which("c++") is None, reason="needs a compiler"
)
def test_the_record_tells_what_the_library_needs():
    assert toolchain.needed_features(["c++", "-march=x86-64"]) == ()
    of_level_3 = toolchain.needed_features(["c++", "-march=x86-64-v3"])
    assert of_level_3[-1] == "avx2"
    assert set(of_level_3) >= OF_LEVEL_3
    of_level_4 = toolchain.needed_features(["c++", "-march=x86-64-v4"])
    assert of_level_4[-1] == "avx512f"
    assert set(of_level_4) >= OF_LEVEL_4 | set(of_level_3)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux alone tells")
def test_what_the_processor_has_is_what_the_record_asks_for():
    expected = {"AVX512": OF_LEVEL_4, "AVX2": OF_LEVEL_3}
    assert expected.get(capability(), set()) <= toolchain.processor_features()


def test_without_torch_the_message_tells_the_command(monkeypatch):
    monkeypatch.setattr(toolchain, "find_spec", lambda name: None)
    with pytest.raises(toolchain.Obstacle, match=r"pip install --no-build-isolation .* \."):
        toolchain.find_torch()


def test_torch_is_found_without_importing_it():
    code = (
        "import sys; sys.path.insert(0, 'csrc'); import toolchain; "
        "print(toolchain.find_torch().version, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    import torch

    assert done.stdout.split() == [torch.__version__, "False"]


@pytest.mark.parametrize(
    ("listed", "visible", "archs"),
    [
        ("", set(), ["8.0", "9.0+PTX"]),
        ("", {"12.0", "8.6"}, ["8.6", "12.0+PTX"]),
        ("native", {"8.9"}, ["8.9+PTX"]),
        ("8.6 9.0a;10.0+PTX", {"8.9"}, ["8.6", "9.0a", "10.0+PTX"]),
    ],
)
def test_compute_capabilities(monkeypatch, listed, visible, archs):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", listed)
    monkeypatch.setattr(toolchain, "_visible_archs", lambda: visible)
    assert toolchain.cuda_archs() == archs


def test_wrong_compute_capabilities_are_refused(monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;Ampere")
    with pytest.raises(toolchain.Obstacle, match=r"TORCH_CUDA_ARCH_LIST: .*got 'Ampere'"):
        toolchain.cuda_archs()


def test_flags_of_compute_capabilities():
    assert toolchain.arch_flags(["8.0", "9.0+PTX"]) == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]


@pytest.mark.parametrize(("name", "told"), [("plain", True), ("a b", False), ("a,b", False)])
def test_nvcc_is_not_told_of_folders_that_it_would_split(tmp_path, name, told):
    (tmp_path / name / "csrc").mkdir(parents=True)
    shutil.copy(ROOT / "csrc" / "toolchain.py", tmp_path / name / "csrc")
    flags = load_toolchain(tmp_path / name).NVCC_FLAGS
    assert any(str(tmp_path) in flag for flag in flags) == told


def test_ccache_is_used_once_where_it_is(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda name, path=None: f"/bin/{name}")
    assert toolchain.ccache(["g++", "-c"]) == ["/bin/ccache", "g++", "-c"]
    assert toolchain.ccache(["ccache", "g++"]) == ["ccache", "g++"]
    monkeypatch.setattr(toolchain.shutil, "which", lambda name, path=None: None)
    assert toolchain.ccache(["g++", "-c"]) == ["g++", "-c"]


def test_a_step_runs_again_when_its_command_or_a_header_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("CCACHE_DISABLE", "1")
    header, source = tmp_path / "a header.h", tmp_path / "a.cpp"
    header.write_text("#define VALUE 1\n")
    source.write_text('#include "a header.h"\nint value = VALUE;\n')
    command = toolchain.compiler()

    def ran(*flags):
        step = toolchain.compile_step(source, [*command, *flags], tmp_path)
        return len(toolchain.run_steps([step]))

    assert [ran(), ran(), ran("-O1"), ran("-O1")] == [1, 0, 1, 0]
    later = (tmp_path / "a.cpp.o").stat().st_mtime + 5
    os.utime(header, (later, later))
    assert ran("-O1") == 1
    header.unlink()
    with pytest.raises(toolchain.Obstacle, match=r"a\.cpp"):
        ran("-O1")
    assert not (tmp_path / "a.cpp.o").exists()
