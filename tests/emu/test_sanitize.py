"""The command of ``make test-sanitize`` notices what it is for, and says so with its exit code."""

import re
import subprocess
import sys

import pytest

from tests.emu import sanitize
from tests.emu.build import VARIANTS, build, can_compile, sanitizer_environment

PLANTED = """
#include <climits>
#include <thread>
#define CALLED extern "C" __attribute__((visibility("default")))
CALLED int in_bounds(int n) { int* x = new int[n](); int y = x[n - 1]; delete[] x; return y; }
CALLED int out_of_bounds(int n) { int* x = new int[n](); int y = x[n]; delete[] x; return y; }
CALLED int overflow(int n) { return INT_MAX - 4 + n; }
CALLED int race(int n) {
  int* shared = new int(n);
  std::thread other([=] { ++*shared; });
  ++*shared;
  other.join();
  return *shared;
}
"""


@pytest.fixture
def run_planted(tmp_path, monkeypatch, capsys):
    """(variant, function of PLANTED) -> exit code and output of the command, run on that alone."""
    (tmp_path / "planted.cpp").write_text(PLANTED)

    def run(name, function):
        code = f"import ctypes, sys; ctypes.CDLL(sys.argv[1]).{function}(8)"

        def call(library, variant, *, one_type):
            assert one_type == ("thread" in name)
            return subprocess.run(
                [sys.executable, "-c", code, library],
                env=sanitizer_environment(variant),
                capture_output=True,
                text=True,
                check=False,
            )

        monkeypatch.setattr(sanitize, "build", lambda variant: build(variant, tmp_path))
        monkeypatch.setattr(sanitize, "run_table", call)
        monkeypatch.setattr(sys, "argv", ["sanitize", name])
        return sanitize.main(), capsys.readouterr().out

    return run


@pytest.mark.skipif(not can_compile(), reason="no C++ compiler to build with sanitizers")
@pytest.mark.parametrize(
    ("name", "function", "report"),
    [
        ("cpu_address", "in_bounds", None),
        ("cpu_address", "out_of_bounds", r"heap-buffer-overflow[\s\S]*planted\.cpp:6"),
        ("cpu_address", "overflow", r"planted\.cpp:7:\d+: runtime error: signed integer overflow"),
        ("cpu_thread", "in_bounds", None),
        ("cpu_thread", "race", r"data race[\s\S]*planted\.cpp:1[01]"),
    ],
)
def test_planted_fault_is_reported_by_exit_code_and_text(run_planted, name, function, report):
    num_failed, text = run_planted(name, function)
    if report is None:
        assert (num_failed, text) == (0, f"{name}: clean\n")
    else:
        assert num_failed == 1
        assert text.startswith(f"{name}: exit code ")
        assert re.search(report, text), text


def test_every_failing_variant_counts_and_the_others_still_run(monkeypatch, capsys):
    monkeypatch.setattr(
        sanitize, "complaints", lambda name: "exit code 1\nFAILED" * ("address" in name)
    )
    monkeypatch.setattr(sys, "argv", ["sanitize"])
    assert sanitize.main() == 2
    bad, clean = "exit code 1\nFAILED", "clean"
    assert capsys.readouterr().out == (
        f"emu_address: {bad}\nemu_thread: {clean}\ncpu_address: {bad}\ncpu_thread: {clean}\n"
    )


def test_both_kinds_of_kernels_run_under_each_sanitizer():
    variants = {name: VARIANTS[name] for name in sanitize.SANITIZED}
    kinds = {(each.emulated, each.sanitizer) for each in variants.values()}
    assert kinds == {(e, s) for e in (True, False) for s in ("libasan.so", "libtsan.so")}
    for each in variants.values():
        assert each.families is None
        wanted = "thread" if each.sanitizer == "libtsan.so" else "address,undefined"
        assert any(flag.startswith(f"-fsanitize={wanted}") for flag in each.flags)


@pytest.mark.parametrize("name", ["emu", "cpu_adress"])
def test_unknown_variant_is_refused_by_name(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", ["sanitize", "cpu_address", name])
    with pytest.raises(SystemExit, match="2"):
        sanitize.main()
    assert f"got {name}\n" in capsys.readouterr().err
