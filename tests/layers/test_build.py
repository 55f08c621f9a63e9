"""The modes of setup.py; nothing is compiled here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_setup(folder, mode, **environment):
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", folder, "--build-temp", folder],
        cwd=ROOT,
        env={**os.environ, "CENTERMASK_BUILD": mode, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("mode", "compiler", "message"),
    [
        ("cuda", "c++", "CUDA operators are not there yet"),
        ("gpu", "c++", "expected one of auto, cpu, cuda, none, got 'gpu'"),
        ("cpu", "no-such-compiler", "compiler 'no-such-compiler' was not found"),
    ],
)
def test_what_cannot_be_built_is_refused(tmp_path, mode, compiler, message):
    done = run_setup(tmp_path, mode, CXX=compiler)
    assert done.returncode == 1
    assert done.stderr.startswith(f"CENTERMASK_BUILD{'=' + mode if mode != 'gpu' else ''}: ")
    assert message in done.stderr


def test_auto_goes_on_without_a_compiler_and_says_so(tmp_path):
    done = run_setup(tmp_path, "auto", CXX="no-such-compiler")
    assert done.returncode == 0
    assert "building WITHOUT compiled operators: the C++ compiler" in done.stderr
    assert not list(tmp_path.rglob("*.so"))


def test_none_builds_nothing_silently(tmp_path):
    done = run_setup(tmp_path, "none")
    assert done.returncode == 0
    assert "WITHOUT" not in done.stderr
    assert not list(tmp_path.rglob("*.so"))


@pytest.mark.slow
def test_auto_goes_on_after_a_failed_compilation(tmp_path):
    done = run_setup(tmp_path, "auto", CXX="/bin/false")
    assert done.returncode == 0
    assert "compilation failed" in done.stderr
