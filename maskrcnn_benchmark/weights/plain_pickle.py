"""Reading pickles that hold NumPy arrays and plain containers, and nothing else.

Unpickling calls whatever a file names. Here a file can name only the few functions that NumPy's
arrays are pickled with, and those are our own: they put bytes, shape and type together.
"""

import os
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np

from maskrcnn_benchmark.weights.load_report import CheckpointError

# What damaged bytes make the unpickler, or the functions below, raise.
_DAMAGE = (
    pickle.UnpicklingError, EOFError, IndexError, KeyError, TypeError, ValueError, AttributeError,
    UnicodeError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip


class _ForbiddenNameError(Exception):
    """The error of a pickle that names something other than a part of an array."""


class _Dtype:
    """Stands for ``numpy.dtype``: numbers and booleans of 1 to 8 bytes."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[fiub][1248]", code):
            raise _ForbiddenNameError(f"an array of type {code!r}")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array:
    """Stands for ``numpy.ndarray`` until all of the file is read."""

    numpy: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        # Python 2 wrote bytes as text, which the unpickler has decoded as Latin-1.
        buffer = raw.encode("latin1") if isinstance(raw, str) else raw
        self.numpy = _from_buffer(buffer, dtype, shape, "F" if is_fortran else "C").numpy


def _from_buffer(buffer: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    flat = np.frombuffer(buffer, dtype=dtype.numpy)
    array = _Array()
    array.numpy = flat.reshape(shape, order="F" if order == "F" else "C")
    return array


def _new_array(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, raw: str | bytes) -> object:
    buffer = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(buffer, dtype=dtype.numpy)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _ForbiddenNameError(f"the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What protocols below 3 call for an empty byte string."""
    return b""


_ADMITTED = {
    "builtins.bytes": _no_bytes,
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _encode,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - the base class's type
        # NumPy 2 and Python 3 renamed these modules.
        module = module.replace("numpy._core.", "numpy.core.").replace("__builtin__", "builtins")
        full_name = f"{module}.{name}"
        if full_name not in _ADMITTED:
            raise _ForbiddenNameError(f"the name {full_name}")
        return _ADMITTED[full_name]


def read_plain_pickle(path: str | os.PathLike[str]) -> object:
    """The content of a pickle of arrays, numbers, texts, lists, tuples and dictionaries.

    Files written by Python 2 are understood. Nothing that a file names is ever called.

    Raises:
        CheckpointError: the file is damaged, or holds anything else.
    """
    try:
        with open(path, "rb") as file:
            return _to_numpy(_PlainUnpickler(file, encoding="latin1").load())
    except _ForbiddenNameError as error:
        raise CheckpointError(
            f"{path}: refused. Besides arrays and plain containers this pickle holds {error}, "
            "and reading that could run code"
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path}: not a complete pickle file ({type(error).__name__}: {error})"
        ) from error


def _to_numpy(value: object) -> object:
    if isinstance(value, _Array):
        return value.numpy
    if isinstance(value, dict):
        return {_to_numpy(key): _to_numpy(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_to_numpy, value))
    return value
