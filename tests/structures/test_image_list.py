import pickle

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.structures.image_list import (
    ImageList,
    PixelImageList,
    PixelNormalizer,
    to_image_list,
)
from tests.golden_data import golden_npz


def test_images_are_padded_right_and_bottom():
    small, large = torch.ones(3, 4, 6), 2 * torch.ones(3, 5, 3)
    images = to_image_list([small, large])
    assert images.tensors.shape == (2, 3, 5, 6)
    assert images.image_sizes == [(4, 6), (5, 3)]
    assert_close(images.tensors[0, :, :4], small)
    assert_close(images.tensors[1, :, :, :3], large)
    assert images.tensors[0, :, 4:].eq(0).all()
    assert images.tensors[1, :, :, 3:].eq(0).all()


@pytest.mark.parametrize(
    ("size_hw", "divisor", "padded_hw"),
    [
        ((33, 64), 32, (64, 64)),
        ((32, 64), 32, (32, 64)),
        ((1, 1), 32, (32, 32)),
        ((5, 7), 0, (5, 7)),
    ],
)
def test_sides_are_divisible(size_hw, divisor, padded_hw):
    image = torch.rand(3, *size_hw)
    for given in (image, [image], image[None], (image,)):
        images = to_image_list(given, divisor)
        assert images.tensors.shape == (1, 3, *padded_hw)
        assert list(images.image_sizes) == [size_hw]
        assert_close(images.tensors[0, :, : size_hw[0], : size_hw[1]], image)


@pytest.mark.golden
def test_padding_of_the_original():
    """Two images that pad to the size in the reference."""
    count, channels, height, width = golden_npz("ops")["imagelist_shape"].tolist()
    images = to_image_list(
        [torch.zeros(channels, height - 28, 320), torch.zeros(channels, 300, width - 31)], 32
    )
    assert images.tensors.shape == (count, channels, height, width)


def test_an_image_list_passes_unchanged():
    images = to_image_list([torch.zeros(3, 2, 2)])
    assert to_image_list(images, 32) is images
    assert len(images) == 1


def test_a_batch_of_no_images():
    images = to_image_list(torch.zeros(0, 3, 5, 5), 4)
    assert images.tensors.shape == (0, 3, 8, 8)
    assert len(images) == 0


def test_the_images_are_copied_when_they_are_padded():
    image = torch.zeros(3, 2, 2)
    images = to_image_list([image], 4)
    images.tensors.fill_(1)
    assert image.eq(0).all()


def test_to_another_device():
    images = to_image_list([torch.zeros(3, 2, 2)]).to("meta")
    assert images.tensors.device.type == "meta"
    assert images.image_sizes == [(2, 2)]


def test_to_takes_what_a_tensor_takes():
    """Regression: a dtype was refused."""
    images = to_image_list([torch.ones(3, 2, 2)])
    assert images.to(torch.float64).tensors.dtype == torch.float64
    assert images.to("cpu", torch.float16, non_blocking=True).tensors.dtype == torch.float16
    assert images.to(device="meta", dtype=torch.int64).tensors.dtype == torch.int64
    assert images.to(torch.zeros(0).double()).image_sizes == [(2, 2)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "image"),
        ([torch.zeros(3, 2, 2), torch.zeros(1, 2, 2)], "channel"),
        ([torch.zeros(2, 2)], "channel"),
        (torch.zeros(2, 2), r"\(C, H, W\) or"),
    ],
)
def test_bad_input_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        to_image_list(given)


def test_something_else_is_refused():
    with pytest.raises(TypeError, match="dict"):
        to_image_list({"image": torch.zeros(3, 2, 2)})


def test_sizes_match_images():
    with pytest.raises(ValueError, match=r"2.*1"):
        ImageList(torch.zeros(2, 3, 4, 4), [(4, 4)])


def every_pixel():
    """All 256 values in all channels, in one image of 16 x 16."""
    plane = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
    planes = torch.stack([plane, plane.T, plane.flip(0)])
    return planes[None]


@pytest.mark.parametrize("to_bgr255", [False, True])
@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0)),
        ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395)),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ((0.0, 0.0, 0.0), (1.0, 255.0, 1 / 255)),
    ],
)
def test_normalised_pixels_have_the_bits_of_the_original_steps(mean, std, to_bgr255):
    pixels = every_pixel()
    floats = pixels[0].to(torch.float32).div(255)
    if to_bgr255:
        floats = floats[[2, 1, 0]] * 255
    floats = floats - torch.tensor(mean)[:, None, None]
    expected = floats / torch.tensor(std)[:, None, None]
    normalized = PixelNormalizer(mean, std, to_bgr255)(pixels, [(16, 16)])
    assert normalized.dtype == torch.float32
    assert torch.equal(normalized[0], expected)


NORMALIZER = PixelNormalizer((1.0, 2.0, 3.0), (1.0, 2.0, 4.0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_padded_is_zero(layout):
    pixels = every_pixel().contiguous(memory_format=layout)
    whole = NORMALIZER(pixels, [(16, 16)])
    assert whole.is_contiguous()
    part = NORMALIZER(pixels, [(7, 5)])
    assert torch.equal(part[..., :7, :5], whole[..., :7, :5])
    assert part[..., 7:, :].eq(0).all()
    assert part[..., 5:].eq(0).all()


@pytest.mark.parametrize("size_hw", [(0, 0), (1, 1)])
@pytest.mark.parametrize("count", [0, 1])
def test_few_pixels_are_normalised(count, size_hw):
    pixels = torch.full((count, 3, *size_hw), 5, dtype=torch.uint8)
    normalized = NORMALIZER(pixels, [size_hw] * count)
    expected = torch.tensor([4.0, 1.5, 0.5])[:, None, None]  # (5 - mean) / std
    assert torch.equal(normalized, expected.expand(count, 3, *size_hw))


@pytest.mark.parametrize("std", [(1.0, 0.0, 1.0), (1.0, 1.0)])
def test_impossible_deviations_are_refused(std):
    with pytest.raises(ValueError, match="std positive"):
        PixelNormalizer((0.0, 0.0, 0.0), std)


def test_pixels_are_an_image_list_of_normalised_images():
    pixels = every_pixel()
    images = PixelImageList(pixels, [(16, 9)], NORMALIZER)
    expected = NORMALIZER(pixels, [(16, 9)])
    assert isinstance(images, ImageList)
    assert len(images) == 1
    assert to_image_list(images) is images
    assert torch.equal(images.tensors, expected)
    copy = pickle.loads(pickle.dumps(images))
    assert torch.equal(copy.pixels, pixels)
    assert torch.equal(copy.tensors, expected)
    assert copy.image_sizes == [(16, 9)]
    with pytest.raises(ValueError, match="1 images, but 2 image_sizes"):
        PixelImageList(pixels, [(16, 9)] * 2, NORMALIZER)


@pytest.mark.parametrize(
    ("where", "dtype"),
    [
        (("cpu",), torch.float32),
        ((torch.float64,), torch.float64),
        (("cpu", torch.float16), torch.float16),
    ],
)
def test_pixels_arrive_normalised(where, dtype):
    images = PixelImageList(every_pixel(), [(16, 9)], NORMALIZER)
    arrived = images.to(*where)
    assert type(arrived) is ImageList
    assert arrived.image_sizes == [(16, 9)]
    assert torch.equal(arrived.tensors, images.tensors.to(dtype))
    assert arrived.tensors.dtype == dtype


@pytest.mark.gpu
def test_pixels_are_normalised_on_the_gpu_with_the_same_bits():
    for to_bgr255 in (False, True):
        normalizer = PixelNormalizer((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), to_bgr255)
        images = PixelImageList(every_pixel(), [(16, 9)], normalizer)
        arrived = images.pin_memory().to("cuda", non_blocking=True)
        assert arrived.tensors.is_cuda
        assert torch.equal(arrived.tensors.cpu(), images.tensors)
