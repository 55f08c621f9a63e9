"""Loading of the compiled library."""

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from maskrcnn_benchmark.layers._ops.operator import NAMESPACE

OPS_VARIABLE = "CENTERMASK_OPS"
"""Environment variable; "reference" leaves a compiled library unused."""

_MINIMUM_TORCH = (2, 10)
_BUILD_HINT = "build it with `python setup.py build_ext --inplace` (see INSTALL.md)"


class OpsStatus(NamedTuple):
    """Which operators are in use, and why."""

    compiled: bool
    cuda: bool
    library: str | None
    reason: str


def find_library() -> Path | None:
    """The compiled library beside the package, or None."""
    candidates = sorted(Path(__file__).parents[2].glob("_C*.so"))
    return candidates[0] if candidates else None


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
    library = find_library()
    if os.environ.get(OPS_VARIABLE) == "reference":
        return OpsStatus(False, False, None, f"{OPS_VARIABLE}=reference asks for it")
    if library is None:
        return OpsStatus(False, False, None, f"no compiled library was found; {_BUILD_HINT}")
    installed = version("torch")
    if tuple(int(part) for part in installed.split(".")[:2]) < _MINIMUM_TORCH:
        minimum = ".".join(map(str, _MINIMUM_TORCH))
        reason = f"torch {installed} is older than {minimum}, the first that {library} can load in"
        return OpsStatus(False, False, None, reason)
    try:
        torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    except OSError as error:
        return OpsStatus(False, False, None, f"{library} does not load: {error}")
    if stale := schema_differences(schemas):
        message = f"{library} was built from other sources ({', '.join(stale)}); {_BUILD_HINT}"
        raise ImportError(message)
    cuda = torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::nms_keep", "CUDA")
    return OpsStatus(True, cuda, str(library), "the compiled library is loaded")
