"""Loading of the compiled library."""

import ctypes
import json
import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from maskrcnn_benchmark.layers._ops.operator import NAMESPACE

OPS_VARIABLE = "CENTERMASK_OPS"
"""Environment variable; "reference" leaves a compiled library unused."""

_MINIMUM_TORCH = (2, 10)  # What csrc/toolchain.py compiles for.
_REGISTER_BYTES = "centermask_register_bytes"
_BUILD_HINT = "build it with `python setup.py build_ext --inplace` (see INSTALL.md)"


class BuildRecord(NamedTuple):
    """What setup.py noted when it built the package.

    Attributes:
        mode: CENTERMASK_BUILD: auto, cpu, cuda or none.
        devices: whose operators were compiled, of "cpu" and "cuda".
        torch: version of the PyTorch that the library was built against, None without a library.
        archs: compute capabilities of the CUDA kernels, such as "9.0+PTX".
        missing: why not every operator was compiled; empty if they were.
        processor: what a processor must have to run the library, such as "avx2"; (): any runs it.
    """

    mode: str
    devices: tuple[str, ...]
    torch: str | None
    archs: tuple[str, ...]
    missing: str
    processor: tuple[str, ...] = ()


class OpsStatus(NamedTuple):
    """Which operators are in use, and why.

    Attributes:
        compiled: whether the compiled library is loaded.
        cuda: whether it holds kernels for CUDA.
        library: its path, None if it is not loaded.
        reason: why the library is loaded or not.
        cuda_reason: why CUDA tensors use compiled kernels or not.
        kernels: operator -> the devices, of "cpu" and "cuda", that the library computes it on.
        build: how the package was built, None if that is unknown.
        register_bytes: of the widest registers that the library's CPU kernels use here: 64, 32, or
            0 for narrower ones, with which its convolutions are slow, and without the library.
    """

    compiled: bool
    cuda: bool
    library: str | None
    reason: str
    cuda_reason: str
    kernels: Mapping[str, tuple[str, ...]]
    build: BuildRecord | None
    register_bytes: int = 0


def _package() -> Path:
    return Path(__file__).parents[2]


def find_library() -> Path | None:
    """The compiled library beside the package, or None."""
    candidates = sorted(_package().glob("_C*.so"))
    return candidates[0] if candidates else None


def read_build_record() -> BuildRecord | None:
    """The record that setup.py left beside the library; None if there is none to be read."""
    try:
        facts = json.loads((_package() / "_build.json").read_text())
        return BuildRecord(
            mode=facts["mode"],
            devices=tuple(facts["devices"]),
            torch=facts["torch"],
            archs=tuple(facts["archs"]),
            missing=facts["missing"],
            processor=tuple(facts.get("processor", ())),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def schema_differences(schemas: Mapping[str, str]) -> list[str]:
    """Names of the operators that are not registered with these schemas."""
    differences = []
    for name, schema in schemas.items():
        wanted = torch._C.parse_schema(f"{NAMESPACE}::{name}{schema}")
        packet = getattr(getattr(torch.ops, NAMESPACE), name, None)
        if packet is None or str(packet.default._schema) != str(wanted):
            differences.append(name)
    return differences


def load_library(schemas: Mapping[str, str]) -> OpsStatus:
    """The outcome of loading the compiled library, if there is one that may be used.

    Raises:
        ImportError: the library's operators have other schemas than these.
    """
    library, build = find_library(), read_build_record()
    if reason := _reason_against(library, build):
        return _not_loaded(reason, build)
    try:
        torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    except OSError as error:
        return _not_loaded(_reason_of_failure(str(library), error), build)
    stale = schema_differences(schemas)
    register_bytes = _register_bytes(library)
    if stale or register_bytes is None:
        names = ", ".join(stale or [_REGISTER_BYTES])
        raise ImportError(f"{library} was built from other sources ({names}); {_BUILD_HINT}")
    kernels = {name: _compiled_devices(name) for name in schemas}
    cuda = any("cuda" in devices for devices in kernels.values())
    return OpsStatus(
        compiled=True,
        cuda=cuda,
        library=str(library),
        reason="the compiled library is loaded",
        cuda_reason=_reason_of_cuda(cuda, build),
        kernels=kernels,
        build=build,
        register_bytes=register_bytes,
    )


def _not_loaded(reason: str, build: BuildRecord | None) -> OpsStatus:
    return OpsStatus(False, False, None, reason, reason, {}, build)


def _register_bytes(library: Path | None) -> int | None:
    """What the library says of its registers; None if it says nothing."""
    function = getattr(ctypes.CDLL(str(library)), _REGISTER_BYTES, None)
    return None if function is None else int(function())


def _missing_features(build: BuildRecord | None) -> list[str]:
    """What the library's kernels need and this processor has not, as far as Linux tells."""
    here = _processor_features()
    return [each for each in (build.processor if build and here else ()) if each not in here]


def _processor_features() -> frozenset[str]:
    """What this processor has, in Linux' words; nothing where nobody tells."""
    # As in csrc/toolchain.py, which builds without this package, and is not installed with it.
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split() if found else ())


def _compiled_devices(name: str) -> tuple[str, ...]:
    # Only true before the plain twins are registered.
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    qualified = f"{NAMESPACE}::{name}"
    return tuple(key.lower() for key in ("CPU", "CUDA") if has_kernel(qualified, key))


def _reason_against(library: Path | None, build: BuildRecord | None) -> str | None:
    """Why not even to try to load the library, or None."""
    if os.environ.get(OPS_VARIABLE) == "reference":
        return f"{OPS_VARIABLE}=reference asks for it"
    if library is None:
        known = build is not None and not build.devices and build.missing
        if known:
            return f"the package was built without compiled operators: {known}"
        return f"no compiled library was found; {_BUILD_HINT}"
    installed = version("torch")
    if tuple(int(part) for part in installed.split(".")[:2]) < _MINIMUM_TORCH:
        wanted = ".".join(map(str, _MINIMUM_TORCH))
        return f"torch {installed} is older than {wanted}, the first that {library} can load in"
    if lacking := _missing_features(build):
        return (
            f"{library} was compiled for processors with {', '.join(lacking)}, which this one has "
            f"not; {_BUILD_HINT}"
        )
    return None


def _reason_of_failure(library: str, error: OSError) -> str:
    # PyTorch wraps the loader's message in one that says nothing.
    words = str(error.__cause__ or error).removeprefix(f"{library}: ")
    if "undefined symbol" in words:
        oldest = ".".join(map(str, _MINIMUM_TORCH))
        words += f" (it needs torch {oldest} or newer; {_BUILD_HINT})"
    return f"{library} does not load in torch {torch.__version__}: {words}"


def _reason_of_cuda(cuda: bool, build: BuildRecord | None) -> str:
    if cuda:
        return "the compiled library holds CUDA kernels"
    known = build is not None and build.devices == ("cpu",) and build.missing
    return f"the compiled library holds no CUDA kernels: {known or 'it was built without them'}"
