import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.dense.shapemask.priors import (
    cluster_masks,
    make_priors,
    read_priors,
)
from maskrcnn_benchmark.structures.tight_outlines import Outline


def make_masks():
    """Ten noisy masks of each of two shapes, the second one half as often again."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.zeros(2, 32, 32)
    shapes[0, :16] = 1
    shapes[1, :, :16] = 1
    owners = torch.tensor([0] * 10 + [1] * 15)
    noise = torch.rand(25, 32, 32, generator=generator) < 0.1
    return (shapes[owners] - noise.float()).abs(), shapes


def test_clusters_are_the_shapes_there_are_and_the_larger_comes_first():
    masks, shapes = make_masks()
    found = cluster_masks(masks, 2, torch.Generator().manual_seed(3))
    assert (found[0] - shapes[1]).abs().mean() < 0.12
    assert (found[1] - shapes[0]).abs().mean() < 0.12
    torch.testing.assert_close(found[0], masks[10:].mean(dim=0))


def test_fewer_masks_than_clusters_are_repeated():
    masks, _ = make_masks()
    found = cluster_masks(masks[:2], 5, torch.Generator().manual_seed(0))
    assert found.shape == (5, 32, 32)
    assert torch.equal(found[:2], found[2:4])
    same = cluster_masks(masks[:1].repeat(4, 1, 1), 3, torch.Generator().manual_seed(0))
    assert torch.equal(same, masks[:1].repeat(3, 1, 1))


def test_priors_of_classes_and_the_same_from_the_same_seed():
    outlines = [Outline(2, torch.ones(5, 70, dtype=torch.bool)), Outline(1, torch.eye(40) > 0)]
    found = make_priors(outlines, num_classes=4, num_priors=3, seed=1)
    assert found.shape == (4, 3, 32, 32)
    assert found[2].eq(1).all()
    assert found[1].amax() <= 1
    assert found[1, 0].diagonal().min() > found[1, 0].mean()
    assert not found[[0, 3]].any()
    again = make_priors(outlines, num_classes=4, num_priors=3, seed=1)
    assert torch.equal(found, again)
    shared = make_priors(outlines, num_classes=4, num_priors=3, class_agnostic=True)
    assert torch.equal(shared, shared[:1].repeat(4, 1, 1, 1))
    assert not make_priors([], num_classes=2, num_priors=3).any()


def test_files(tmp_path):
    path = tmp_path / "priors.npy"
    array = np.random.default_rng(0).random((3, 2, 32, 32))
    np.save(path, array)
    found = read_priors(str(path), 3, 2)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), array, atol=1e-6)
    with pytest.raises(ConfigError, match="shape"):
        read_priors(str(path), 4, 2)
    np.save(path, array + 1)
    with pytest.raises(ConfigError, match="values"):
        read_priors(str(path), 3, 2)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match="PRIORS_FILE"):
        read_priors(str(path), 3, 2)
    path.write_text("<html>")
    with pytest.raises(ConfigError, match="PRIORS_FILE"):
        read_priors(str(path), 3, 2)
    with pytest.raises(ConfigError, match="no such file"):
        read_priors(str(tmp_path / "none.npy"), 3, 2)


def test_a_file_with_a_row_for_each_id_of_coco(tmp_path):
    path = tmp_path / "priors.npy"
    rows = np.broadcast_to(np.linspace(0, 1, 91)[:, None, None, None], (91, 2, 32, 32))
    np.save(path, rows.astype(np.float32))
    found = read_priors(str(path), 81, 2)
    # The background, then the ids 1 to 11, 13, ..., 90.
    expected = torch.tensor([0, 1, 11, 13, 90]) / 90
    torch.testing.assert_close(found[[0, 1, 11, 12, 80], 0, 0, 0], expected)
