"""Samples put together, and how they travel from worker processes."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from maskrcnn_benchmark.data.collate_batch import Batch, BatchCollator, _ByValue
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, PixelImageList, PixelNormalizer
from tests.factories import target_with_masks

OPEN_FILES = Path("/proc/self/fd")


def sample(height=8, width=10, image_id=1, num_boxes=2):
    image = torch.full((3, height, width), float(image_id))
    return image, target_with_masks(num_boxes, (width, height), seed=image_id), image_id


def test_images_are_padded_right_and_bottom():
    batch = BatchCollator(32)([sample(8, 10, 5), sample(40, 6, 7)])
    assert batch.images.tensors.shape == (2, 3, 64, 32)
    assert list(batch.images.image_sizes) == [(8, 10), (40, 6)]
    assert (batch.images.tensors[0, :, :8, :10] == 5).all()
    assert batch.images.tensors[0].sum() == 5 * 3 * 80
    assert batch.image_ids == (5, 7)
    assert [target.size for target in batch.targets] == [(10, 8), (6, 40)]


def test_no_divisibility_pads_to_the_largest_only():
    batch = BatchCollator()([sample(8, 10), sample(9, 6)])
    assert batch.images.tensors.shape == (2, 3, 9, 10)


def test_images_without_boxes():
    batch = BatchCollator(4)([sample(num_boxes=0)])
    assert len(batch.targets[0]) == 0
    assert len(batch.targets[0].get_field("masks")) == 0


def pixel_sample(height=8, width=10, image_id=1, num_boxes=2):
    image, target, image_id = sample(height, width, image_id, num_boxes)
    return image.to(torch.uint8), target, image_id


def test_pixels_stay_pixels_until_they_are_used():
    normalizer = PixelNormalizer((1.0, 1.0, 1.0), (2.0, 2.0, 2.0))
    samples = [pixel_sample(8, 10, 5), pixel_sample(40, 6, 7)]
    (images, *_) = BatchCollator(32, normalizer)(samples)
    assert isinstance(images, PixelImageList)
    assert images.pixels.dtype == torch.uint8
    assert list(images.image_sizes) == [(8, 10), (40, 6)]
    assert (images.tensors[1, :, :40, :6] == 3).all()  # (7 - 1) / 2
    assert images.tensors[1].sum() == 3 * 3 * 240
    loader = DataLoader(
        samples, batch_size=2, num_workers=1, collate_fn=BatchCollator(32, normalizer)
    )
    (batch,) = loader
    assert torch.equal(batch.images.pixels, images.pixels)
    assert torch.equal(batch.images.to("cpu").tensors, images.tensors)


def test_normalised_images_are_left_alone():
    normalizer = PixelNormalizer((1.0, 1.0, 1.0), (2.0, 2.0, 2.0))
    images = BatchCollator(32, normalizer)([sample(8, 10, 5)]).images
    assert type(images) is ImageList
    assert (images.tensors[..., :8, :10] == 5).all()
    assert BatchCollator(32)([pixel_sample()]).images.tensors.dtype == torch.uint8


def test_by_value_comes_back_as_the_thing_itself():
    target = sample()[1]
    target.add_field("bits", torch.tensor([True, False]))
    target.add_field("halves", torch.rand(2, 3).half()[:, ::2])
    (copy,) = pickle.loads(pickle.dumps(_ByValue((target,))))
    assert isinstance(copy, BoxList)
    assert torch.equal(copy.bbox, target.bbox)
    for name in ("labels", "bits", "halves"):
        assert torch.equal(copy.get_field(name), target.get_field(name))
        assert copy.get_field(name).dtype == target.get_field(name).dtype
    masks, expected = copy.get_field("masks"), target.get_field("masks")
    assert torch.equal(masks.to_bitmasks(), expected.to_bitmasks())
    copy.bbox.add_(1)  # its memory is its own


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="counts open files the Linux way")
def test_batches_from_workers_hold_one_open_file_each():
    """Regression: many boxes in many waiting batches ran into 'too many open files'."""
    samples = [sample(image_id=i, num_boxes=3) for i in range(1, 33)]
    loader = DataLoader(samples, batch_size=4, num_workers=1, collate_fn=BatchCollator(4))
    before = len(os.listdir(OPEN_FILES))
    batches = list(loader)
    assert len(os.listdir(OPEN_FILES)) - before <= len(batches) + 4
    assert all(isinstance(batch, Batch) for batch in batches)
    assert [image_id for batch in batches for image_id in batch.image_ids] == list(range(1, 33))
    for batch in batches:
        for target, image_id in zip(batch.targets, batch.image_ids, strict=True):
            assert torch.equal(target.bbox, sample(image_id=image_id, num_boxes=3)[1].bbox)
