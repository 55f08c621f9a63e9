import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.plain_pickle import read_plain_pickle
from tests.weights.pickles import python2_pickle

CONTENT = {
    "w": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
    "bytes": np.arange(256, dtype=np.uint8),
    "nested": OrderedDict(lr=[0.1, np.float32(0.5)], name="R-50", pair=(1, None)),
}


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_come_back(protocol: int, tmp_path: Path):
    path = _write(tmp_path / "a.pkl", pickle.dumps(CONTENT, protocol=protocol))
    read = read_plain_pickle(path)
    assert list(read) == list(CONTENT)
    for name in ("w", "fortran", "big_endian", "empty", "flags", "bytes"):
        assert read[name].dtype == CONTENT[name].dtype
        np.testing.assert_array_equal(read[name], CONTENT[name])
    assert read["nested"] == {"lr": [0.1, 0.5], "name": "R-50", "pair": (1, None)}


def test_a_file_of_python_2_comes_back(tmp_path: Path):
    arrays = {"conv1_w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
    read = read_plain_pickle(_write(tmp_path / "a.pkl", python2_pickle(arrays)))
    assert list(read) == ["conv1_w"]
    np.testing.assert_array_equal(read["conv1_w"], arrays["conv1_w"])


class _Calls:
    """Pickles as a call of ``function``, as an attacker would have it."""

    def __init__(self, function, *args: object) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_file_is_refused_and_not_run(protocol: int, tmp_path: Path):
    marker = tmp_path / "was_run"
    evil = {"conv1_w": _Calls(os.mkdir, str(marker))}
    path = _write(tmp_path / "evil.pkl", pickle.dumps(evil, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"evil\.pkl.*mkdir"):
        read_plain_pickle(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "value",
    [
        _Calls(eval, "1 + 1"),
        _Calls(getattr, "text", "upper"),
        _Calls(np.load, "other.npy"),
        np.array([_Calls(eval, "1")], dtype=object),
        np.array(["text"]),
        np.zeros(2, dtype=[("x", "f4")]),
        pytest,
    ],
    ids=["eval", "getattr", "numpy.load", "object array", "text array", "record", "module"],
)
def test_nothing_but_numbers_is_admitted(value: object, tmp_path: Path):
    try:
        data = pickle.dumps(value, protocol=2)
    except TypeError:
        data = b"cbuiltins\n__import__\n."
    with pytest.raises(CheckpointError, match="refused"):
        read_plain_pickle(_write(tmp_path / "a.pkl", data))


def test_an_encoding_is_no_way_to_import_a_module(tmp_path: Path):
    data = b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR."
    with pytest.raises(CheckpointError, match="rot13"):
        read_plain_pickle(_write(tmp_path / "a.pkl", data))


@pytest.mark.parametrize("length", [0, 1, 20, 100, -1])
def test_a_truncated_file_is_named(length: int, tmp_path: Path):
    data = pickle.dumps(CONTENT, protocol=2)
    path = _write(tmp_path / "cut.pkl", data[:length])
    with pytest.raises(CheckpointError, match=r"cut\.pkl"):
        read_plain_pickle(path)


def test_an_array_without_content_is_damage(tmp_path: Path):
    data = b"cnumpy\nndarray\n)R."
    with pytest.raises(CheckpointError, match="not a complete pickle"):
        read_plain_pickle(_write(tmp_path / "a.pkl", data))
