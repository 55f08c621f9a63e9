"""Resize, flip, tensor conversion and normalisation of images with their boxes."""

import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from maskrcnn_benchmark.data.transforms import (
    Compose,
    Normalize,
    RandomDiagonalFlip,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    Resize,
    ToPixels,
    ToTensor,
    resized_hw,
    resized_nearest_hw,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import PixelNormalizer
from tests.golden_data import GOLDEN_DIR, golden_json, golden_npz

MEAN_BGR = (102.9801, 115.9465, 122.7717)


def photo(width=6, height=4):
    array = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    return Image.fromarray(array)


def boxes(image, rows=((1.0, 0.0, 3.0, 2.0),)):
    return BoxList(torch.tensor(rows), image.size)


@pytest.mark.golden
@pytest.mark.parametrize(("min_size", "max_size"), [(800, 1333), (600, 1000), (320, 544)])
def test_sizes_are_those_of_the_original(min_size, max_size):
    ops = golden_npz("ops")
    sizes = [resized_hw((int(w), int(h)), min_size, max_size) for w, h in ops["resize_in_wh"]]
    np.testing.assert_array_equal(sizes, ops[f"resize_hw_{min_size}_{max_size}"])


def test_sizes_by_hand():
    assert resized_hw((640, 480), 800, 1333) == (800, 1066)  # 800 * 4 / 3 = 1066.7, truncated
    assert resized_hw((480, 640), 800, 1333) == (1066, 800)
    assert resized_hw((1000, 500), 600, 1000) == (500, 1000)  # 1000 * 1 / 2: already that size
    assert resized_hw((1000, 200), 800, 1333) == (267, 1335)  # rounded 266.6, longer side passes
    assert resized_hw((7, 7), 7, 7) == (7, 7)


def test_a_hair_thin_image_keeps_a_pixel():
    assert resized_hw((5000, 2), 800, 1333) == (1, 2500)


@pytest.mark.golden
@pytest.mark.parametrize("image_id", [5001, 166918])
def test_resized_pixels_are_those_of_the_original(image_id):
    folder = GOLDEN_DIR / "images"
    with Image.open(folder / f"{image_id:012d}.jpg") as image:
        resized, _ = Resize(320, 544)(image.convert("RGB"))
    with Image.open(folder / f"{image_id:012d}_320_544.png") as image:
        expected = np.asarray(image).astype(int)
    difference = np.abs(np.asarray(resized).astype(int) - expected)
    # JPEG decoders may differ by a step in places; the resize itself must not.
    assert difference.max() <= 4
    assert difference.mean() < 0.05


@pytest.mark.golden
@pytest.mark.parametrize("index", [0, 1])
def test_normalised_pixels_are_those_of_the_original(index):
    case = "centermask_R_50_FPN_1x"
    info = golden_json(case)["images"][index]
    path = GOLDEN_DIR / "images" / info["file"].replace(".jpg", "_320_544.png")
    with Image.open(path) as image:
        tensor, _ = Compose([ToTensor(), Normalize(MEAN_BGR, (1.0, 1.0, 1.0))])(image)
    assert list(tensor.shape) == [3, *info["transformed_hw"]]
    corner = torch.from_numpy(golden_npz(case)[f"input{index}_corner"])
    torch.testing.assert_close(tensor[:, :8, :8], corner, rtol=0, atol=1e-4)
    assert tensor.double().mean().item() == pytest.approx(info["mean"], abs=1e-3)
    assert tensor.double().std().item() == pytest.approx(info["std"], abs=1e-3)


def test_resize_takes_the_boxes_along():
    image = photo(6, 4)
    resized, target = Resize(8, 100)(image, boxes(image))
    assert resized.size == (12, 8)
    assert target.size == (12, 8)
    torch.testing.assert_close(target.bbox, torch.tensor([[2.0, 0.0, 6.0, 4.0]]))


def test_resize_draws_every_size_and_only_those():
    image = photo(20, 10)
    resize = Resize(range(5, 9), 100)
    rng = random.Random(0)
    heights = {resize(image, None, rng)[0].height for _ in range(100)}
    assert heights == {5, 6, 7, 8}


def test_an_unknown_way_to_resize_is_named():
    with pytest.raises(ValueError, match=r"one of \('pil', 'fast'\), not 'slow'"):
        Resize(8, 100, "slow")


@pytest.mark.parametrize("min_size", [5, 10, 37, 80])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_the_fast_resize_keeps_sizes_boxes_and_a_single_colour(mode, min_size):
    image = Image.new("RGB", (60, 40), (255, 0, 255)).convert(mode)
    expected, expected_target = Resize(min_size, 100)(image, boxes(image))
    resized, target = Resize(min_size, 100, "fast")(image, boxes(image))
    assert resized.size == expected.size
    assert torch.equal(target.bbox, expected_target.bbox)
    np.testing.assert_array_equal(
        np.asarray(resized.convert("RGB")), np.asarray(expected.convert("RGB"))
    )


@pytest.mark.golden
@pytest.mark.parametrize("image_id", [5001, 166918])
@pytest.mark.parametrize("min_size", [50, 320, 480, 490, 800])
def test_the_fast_resize_is_one_step_off_at_most(image_id, min_size):
    with Image.open(GOLDEN_DIR / "images" / f"{image_id:012d}.jpg") as photo:
        image = photo.convert("RGB")
    expected, resized = (
        np.asarray(Resize(min_size, 1333, backend)(image)[0]).astype(int)
        for backend in ("pil", "fast")
    )
    assert np.abs(resized - expected).max() <= 1


@pytest.mark.parametrize("arguments", [(0, 10), (8, 0), ((), 10), ((4, -1), 10)])
def test_resize_refuses_impossible_sizes(arguments):
    with pytest.raises(ValueError, match="at least 1 px"):
        Resize(*arguments)


def test_flip_mirrors_pixels_and_boxes():
    image = photo(6, 4)
    flipped, target = RandomHorizontalFlip(1.0)(image, boxes(image))
    np.testing.assert_array_equal(np.asarray(flipped), np.asarray(image)[:, ::-1])
    # Pixels 1..3 of 0..5 become 2..4.
    torch.testing.assert_close(target.bbox, torch.tensor([[2.0, 0.0, 4.0, 2.0]]))


@pytest.mark.parametrize("flip", [RandomHorizontalFlip, RandomVerticalFlip, RandomDiagonalFlip])
def test_arrays_are_flipped_as_images_are(flip):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    expected, _ = flip(1.0)(Image.fromarray(pixels))
    found, _ = flip(1.0)(pixels)
    assert np.array_equal(found, np.asarray(expected))
    assert found.flags["C_CONTIGUOUS"]


def test_flipping_twice_is_the_identity():
    image = photo()
    flip = RandomHorizontalFlip(1.0)
    once = flip(image, boxes(image))
    twice, target = flip(*once)
    np.testing.assert_array_equal(np.asarray(twice), np.asarray(image))
    torch.testing.assert_close(target.bbox, boxes(image).bbox)


def test_flip_probability():
    image = photo()
    rng = random.Random(1)
    flip = RandomHorizontalFlip(0.25)
    flips = sum(flip(image, None, rng)[0] is not image for _ in range(2000))
    assert flips / 2000 == pytest.approx(0.25, abs=0.03)  # three standard deviations
    assert RandomHorizontalFlip(0.0)(image)[0] is image
    with pytest.raises(ValueError, match=r"\[0, 1\], not 1\.5"):
        RandomHorizontalFlip(1.5)


def test_to_tensor_scales_to_one():
    tensor, target = ToTensor()(photo(), "anything")
    assert tensor.shape == (3, 4, 6)
    assert target == "anything"
    torch.testing.assert_close(tensor[:, 0, 1], torch.tensor([3.0, 4.0, 5.0]) / 255)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_to_tensor_equals_torchvision(mode):
    image = Image.effect_noise((13, 7), 90).convert(mode)
    expected = to_tensor(image.convert("RGB"))
    tensor, _ = ToTensor()(image)
    assert torch.equal(tensor, expected)
    assert tensor.is_contiguous()
    assert tensor.dtype == torch.float32


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pixels_and_their_normalizer_give_the_bits_of_tensor_and_normalize(mode):
    image = Image.effect_noise((13, 7), 90).convert(mode)
    pixels, target = ToPixels()(image, "anything")
    assert target == "anything"
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    for settings in ((MEAN_BGR, (1.0, 1.0, 1.0)), ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), False)):
        expected, _ = Compose([ToTensor(), Normalize(*settings)])(image)
        assert torch.equal(PixelNormalizer(*settings)(pixels[None], [(7, 13)])[0], expected)


def test_normalize_in_both_scales():
    rgb = torch.tensor([0.2, 0.4, 1.0])[:, None, None]
    bgr255, _ = Normalize((5.0, 2.0, 1.0), (10.0, 100.0, 2.0))(rgb)
    torch.testing.assert_close(bgr255.flatten(), torch.tensor([25.0, 1.0, 25.0]))
    plain, _ = Normalize((0.1, 0.2, 0.5), (0.1, 0.2, 0.5), to_bgr255=False)(rgb)
    torch.testing.assert_close(plain.flatten(), torch.tensor([1.0, 1.0, 1.0]))


@pytest.mark.parametrize("std", [(1.0, 0.0, 1.0), (1.0, 1.0)])
def test_normalize_refuses_impossible_deviations(std):
    with pytest.raises(ValueError, match="std positive"):
        Normalize(MEAN_BGR, std)


def test_no_boxes_pass_through_everything():
    image = photo()
    chain = Compose([Resize(8, 100), RandomHorizontalFlip(1.0), ToTensor()])
    tensor, target = chain(image, BoxList(torch.zeros(0, 4), image.size))
    assert tensor.shape == (3, 8, 12)
    assert len(target) == 0
    assert target.size == (12, 8)


def test_compose_is_repeatable_given_a_generator():
    image = photo(30, 20)
    chain = Compose([Resize(range(10, 30), 100), RandomHorizontalFlip()])

    def draw(seed):
        return np.asarray(chain(image, None, random.Random(seed))[0])

    assert all(np.array_equal(draw(seed), draw(seed)) for seed in range(5))
    assert len({draw(seed).tobytes() for seed in range(20)}) > 10


def test_without_a_generator_the_global_one_is_used():
    image = photo(30, 20)
    resize = Resize(range(1, 1000), 2000)
    random.seed(3)
    expected = random.Random(3).choice(range(1, 1000))
    assert resize(image)[0].height == expected


def test_compose_accepts_plain_functions_of_image_and_target():
    chain = Compose([lambda image, target: (image.rotate(180), target), ToTensor()])
    tensor, _ = chain(photo(), None, random.Random(0))
    np.testing.assert_allclose(tensor[:, 0, 0], np.asarray(photo())[-1, -1] / 255, rtol=1e-6)


def test_transforms_reach_worker_processes():
    chain = Compose([Resize((5, 6), 10), RandomHorizontalFlip(), ToTensor()])
    assert repr(pickle.loads(pickle.dumps(chain))) == repr(chain)
    assert "min_size=(5, 6)" in repr(chain)


@pytest.mark.parametrize(
    ("size_wh", "truncated", "nearest"),
    [
        ((640, 480), (320, 426), (320, 427)),  # 426.67
        ((480, 640), (426, 320), (427, 320)),
        ((1000, 200), (109, 545), (109, 544)),  # 108.8: the longer side decides
        ((100, 1), (5, 500), (5, 544)),
    ],
)
def test_sides_are_truncated_or_rounded(size_wh, truncated, nearest):
    image = Image.new("RGB", size_wh)
    for sides, height_width in ((resized_hw, truncated), (resized_nearest_hw, nearest)):
        assert sides(size_wh, 320, 544) == height_width
        resized, _ = Resize(320, 544, sides=sides)(image)
        assert resized.size == height_width[::-1]


@pytest.mark.parametrize(
    ("size_hw", "resized_hw"), [((700, 20), (350, 10)), ((2100, 2000), (105, 100))]
)
def test_the_fast_resize_goes_through_large_photos_piece_by_piece(size_hw, resized_hw):
    pixels = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    resized, _ = Resize(min(resized_hw), 1000, "fast")(Image.fromarray(pixels), None)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(
        planes, size=resized_hw, mode="bilinear", antialias=True
    )
    np.testing.assert_array_equal(resized, expected[0].permute(1, 2, 0))
