import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
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
