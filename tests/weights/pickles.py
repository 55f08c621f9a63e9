"""Pickles as Python 2 wrote them, which Python 3 cannot write itself."""

import struct
from collections.abc import Mapping

import numpy as np


def _text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode("ascii")


def _array(array: np.ndarray) -> bytes:
    raw = np.ascontiguousarray(array).tobytes()
    shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in array.shape) + b"t"
    minus_one = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\n" + _text("f4") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + _text("<") + b"NNN" + minus_one + minus_one + b"K\x00tb"
    new = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text("b") + b"\x87R"
    )
    # T: a byte string, which Python 3 decodes to text.
    return new + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"


def python2_pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Protocol-2 pickle of a dictionary of float32 arrays, with byte strings throughout."""
    assert all(array.dtype == np.float32 for array in arrays.values())
    entries = b"".join(_text(name) + _array(array) for name, array in arrays.items())
    return b"\x80\x02}(" + entries + b"u."
