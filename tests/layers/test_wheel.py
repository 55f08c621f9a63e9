"""Wheels: built from a copy of the checkout, installed elsewhere, used from there."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE", "csrc")
USE_AN_OPERATOR = """
import json, torch
import maskrcnn_benchmark
from maskrcnn_benchmark import layers
from maskrcnn_benchmark.config import cfg
boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]])
kept = layers.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
status = layers.ops_status()
print(json.dumps([kept.tolist(), status.compiled, status.reason, maskrcnn_benchmark.__file__]))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    ignore = shutil.ignore_patterns("__pycache__", "_build.json")
    package = "maskrcnn_benchmark"
    # A library that lies in the checkout, perhaps of another build, must not get into wheels.
    shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    (folder / package / "_C.abi3.so").write_bytes(b"left over")
    return folder


def pip(*words, **environment):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def wheel_of(checkout, folder, mode, **environment):
    words = ("--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(checkout))
    pip("wheel", *words, CENTERMASK_BUILD=mode, **environment)
    (wheel,) = folder.glob("*.whl")
    return wheel


def use(wheel, folder):
    site, elsewhere = folder / "site", folder / "elsewhere"
    pip("install", "--no-deps", "--target", str(site), str(wheel))
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", USE_AN_OPERATOR],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site), "CENTERMASK_OPS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, compiled, reason, file = json.loads(done.stdout)
    assert kept == [0, 2]
    assert file.startswith(str(site))
    return compiled, reason, done.stderr


def test_a_wheel_with_the_library(checkout, tmp_path):
    wheel = wheel_of(checkout, tmp_path, "cpu")
    assert "-cp310-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if re.match(r"maskrcnn_benchmark/_[^_/]*$", name)}
    assert {f"maskrcnn_benchmark/{name}" for name in ("_C.abi3.so", "_build.json")} == package
    assert not [name for name in names if name.startswith(("csrc", "tests", "setup", "toolchain"))]
    compiled, _, errors = use(wheel, tmp_path)
    assert compiled
    assert errors == ""


@pytest.mark.parametrize(
    ("mode", "compiler", "reason"),
    [
        ("none", "c++", "CENTERMASK_BUILD=none asked for it"),
        ("auto", "no-such-compiler", "the C++ compiler 'no-such-compiler' was not found"),
        ("auto", "/bin/false", "compiling "),
    ],
)
def test_a_wheel_without_the_library(checkout, tmp_path, mode, compiler, reason):
    wheel = wheel_of(checkout, tmp_path, mode, CXX=compiler, CCACHE_DISABLE="1")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    compiled, why, errors = use(wheel, tmp_path)
    assert not compiled
    assert why.startswith(f"the package was built without compiled operators: {reason}")
    assert errors.count("RuntimeWarning") == 1


def test_without_build_isolation_switched_off_the_wheel_tells_how(checkout, tmp_path):
    # What pip's isolation does, without its downloads: a build that sees no PyTorch.
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
    )
    wheel = wheel_of(checkout, tmp_path, "auto", PYTHONPATH=str(hide))
    _, why, errors = use(wheel, tmp_path)
    assert "pip install --no-build-isolation --force-reinstall --no-deps ." in why
    assert "pip install --no-build-isolation" in errors
