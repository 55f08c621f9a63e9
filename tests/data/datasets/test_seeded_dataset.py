"""What a sample depends on: seed, iteration, position and rank, and nothing else."""

import pickle
import random
from itertools import product

import numpy as np
import pytest

from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.datasets.seeded_dataset import SeededDataset
from maskrcnn_benchmark.data.samplers import SampleKey
from maskrcnn_benchmark.data.transforms import Compose, RandomHorizontalFlip, Resize
from tests.data.tiny_coco import write

JITTER = Compose([Resize(range(8, 400), 10_000), RandomHorizontalFlip()])


@pytest.fixture
def dataset(tmp_path):
    return COCODataset(*write(tmp_path), True)


def test_equal_circumstances_give_equal_samples(dataset):
    first = SeededDataset(dataset, JITTER, seed=1, rank=2)[SampleKey(0, 3, 4)]
    random.random()
    again = SeededDataset(dataset, JITTER, seed=1, rank=2)[SampleKey(0, 3, 4)]
    np.testing.assert_array_equal(np.asarray(first[0]), np.asarray(again[0]))
    assert first[1].bbox.tolist() == again[1].bbox.tolist()
    assert first[2] == again[2] == 1


def test_each_circumstance_changes_the_sample(dataset):
    heights = [
        SeededDataset(dataset, JITTER, seed=seed, rank=rank)[SampleKey(0, iteration, place)][0].size
        for seed, rank, iteration, place in product(range(2), repeat=4)
    ]
    assert len(set(heights)) >= 15  # of 16, from 392 sizes


def test_what_a_batch_shares(dataset):
    """All of a batch have one size, in every process, and flips of their own after it."""
    own = Compose([RandomHorizontalFlip()])
    shared = Compose([Resize(range(8, 400), 10_000)])
    samples = {
        (rank, iteration, place): SeededDataset(
            dataset, own, seed=0, rank=rank, batch_transforms=shared
        )[SampleKey(0, iteration, place)]
        for rank, iteration, place in product(range(2), range(2), range(4))
    }
    sizes = [
        {image.size for (_, of, _), (image, _, _) in samples.items() if of == iteration}
        for iteration in range(2)
    ]
    assert len(sizes[0]) == len(sizes[1]) == 1
    assert sizes[0] != sizes[1]
    left = {target.bbox[0, 0].item() for (_, of, _), (_, target, _) in samples.items() if of == 0}
    assert len(left) == 2
    assert all(target.size == image.size for image, target, _ in samples.values())


def test_the_target_follows_its_image(dataset):
    seeded = SeededDataset(dataset, JITTER, seed=0)
    for iteration in range(5):
        picture, target, _ = seeded[SampleKey(0, iteration, 0)]
        assert target.size == picture.size


def test_what_it_passes_on(dataset):
    seeded = SeededDataset(dataset, JITTER, seed=0)
    assert len(seeded) == 1
    assert seeded.categories == {1: "cat", 2: "dog"}
    assert seeded.dataset is dataset
    for name in ("name", "image_ids", "id_to_img_map", "contiguous_category_id_to_json_id"):
        assert getattr(seeded, name) is getattr(dataset, name)
    assert seeded.json_category_id_to_contiguous_id == dataset.json_category_id_to_contiguous_id
    assert seeded.get_img_info(0) == dataset.get_img_info(0)
    assert seeded.ground_truth() == dataset.ground_truth()
    assert not hasattr(seeded, "get_target")  # unchanged by the transforms: not what is trained on
    assert pickle.loads(pickle.dumps(seeded)).image_ids == dataset.image_ids


def test_a_position_is_a_key(dataset):
    """Scripts of maskrcnn-benchmark say ``data_loader.dataset[0]``."""
    seeded = SeededDataset(dataset, JITTER, seed=0)
    image, target, image_id = seeded[0]
    expected = seeded[SampleKey(0, 0, 0)]
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected[0]))
    assert target.bbox.tolist() == expected[1].bbox.tolist()
    assert image_id == 1
    assert len(list(seeded)) == 1


def test_transforms_must_keep_the_target(dataset):
    class Forgetful(Compose):
        def __call__(self, image, target=None, rng=None):
            return image, None

    with pytest.raises(ValueError, match="target"):
        SeededDataset(dataset, Forgetful([]), seed=0)[SampleKey(0, 0, 0)]
