import runpy

import numpy as np
import pytest

from maskrcnn_benchmark.data.errors import DatasetError
from tests.contract.source_tree import ROOT
from tests.data import tiny_coco

TOOL = runpy.run_path(str(ROOT / "tools" / "make_shape_priors.py"))


@pytest.fixture
def data(tmp_path):
    ann_file, root = tiny_coco.write(tmp_path)
    return f"{ann_file}@{root}"


def test_priors_of_a_file(data, tmp_path, capsys):
    path = tmp_path / "priors.npy"
    TOOL["main"]([data, "--output", str(path), "--num-priors", "3"])
    priors = np.load(path)
    assert priors.shape == (3, 3, 32, 32)
    assert priors.dtype == np.float32
    # The square of the cat fills its box; there is no dog, and the background has no shape.
    assert (priors[1] == 1).all()
    assert not priors[[0, 2]].any()
    assert "dog" in capsys.readouterr().out


def test_nothing_is_lost(data, tmp_path, capsys):
    path = tmp_path / "priors.npy"
    path.write_bytes(b"mine")
    with pytest.raises(SystemExit):
        TOOL["main"]([data, "--output", str(path)])
    assert "--overwrite" in capsys.readouterr().err
    assert path.read_bytes() == b"mine"
    TOOL["main"]([data, "--output", str(path), "--overwrite", "--class-agnostic"])
    assert (np.load(path) == 1).all()
    assert "zeros" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--num-priors", "0"], ["--max-masks", "0"], ["--output", "p"]])
def test_wrong_words_are_told(data, words, capsys):
    with pytest.raises(SystemExit):
        TOOL["main"]([data, *words])
    assert words[0] in capsys.readouterr().err


def test_data_without_outlines_are_refused(tmp_path):
    boxes = tiny_coco.without(tiny_coco.annotation(), "segmentation")
    ann_file, root = tiny_coco.write(tmp_path, tiny_coco.content(annotations=[boxes]))
    with pytest.raises(DatasetError, match="outlines"):
        TOOL["main"]([f"{ann_file}@{root}", "--output", str(tmp_path / "p.npy")])
    assert not (tmp_path / "p.npy").exists()
