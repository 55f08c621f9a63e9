"""read_image on every kind of file that users have."""

import io
import pickle

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.data.image_io import as_image, look_at_image, read_image, read_size
from tests.golden_data import GOLDEN_DIR

ORIENTATION = 0x0112


def gradient(height=3, width=5):
    """(height, width, 3) uint8 pixels that differ in every place and channel."""
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def pixels(path, **kwargs):
    image = read_image(path, **kwargs)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_rgb_pixels_come_unchanged(tmp_path):
    path = save(tmp_path / "a.png", gradient())
    np.testing.assert_array_equal(pixels(path), gradient())
    np.testing.assert_array_equal(pixels(str(path)), gradient())


def test_grayscale_has_three_equal_channels(tmp_path):
    gray = gradient()[..., 0]
    result = pixels(save(tmp_path / "a.png", gray))
    np.testing.assert_array_equal(result, np.stack([gray] * 3, axis=-1))


def test_bilevel_becomes_black_and_white(tmp_path):
    bits = np.array([[True, False, True]])
    result = pixels(save(tmp_path / "a.png", bits))
    np.testing.assert_array_equal(result[..., 0], [[255, 0, 255]])


def test_transparent_pixels_lie_on_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    result = pixels(save(tmp_path / "a.png", rgba))
    # The third pixel is a fifth black on white: 255 * (1 - 51 / 255) = 204.
    np.testing.assert_array_equal(result, [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]])


def test_gray_with_alpha(tmp_path):
    path = tmp_path / "a.png"
    Image.merge("LA", [Image.new("L", (2, 1), 7), Image.new("L", (2, 1), 255)]).save(path)
    np.testing.assert_array_equal(pixels(path), np.full((1, 2, 3), 7))


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 50, 60, 70])
    image.putpixel((1, 0), 1)
    path = tmp_path / "a.png"
    image.save(path, transparency=0)
    np.testing.assert_array_equal(pixels(path), [[[255, 255, 255], [50, 60, 70]]])


def test_rgb_with_a_transparent_colour(tmp_path):
    path = tmp_path / "a.png"
    array = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    Image.fromarray(array).save(path, transparency=(1, 2, 3))
    np.testing.assert_array_equal(pixels(path), [[[255, 255, 255], [4, 5, 6]]])


def test_cmyk_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    np.testing.assert_allclose(pixels(path)[8, 8], [255, 0, 0], atol=6)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grayscale_is_scaled(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.array([[0, 257, 385, 386, 32768, 65535]], dtype=np.uint16))
    # 385 / 257 = 1.498 and 386 / 257 = 1.502: rounded to the nearest.
    np.testing.assert_array_equal(pixels(path)[0, :, 1], [0, 1, 1, 2, 128, 255])


def test_16_bit_colour_is_scaled(tmp_path):
    path = tmp_path / "a.png"
    bgr = np.array([[[0, 32896, 65535]]], dtype=np.uint16)
    cv2.imwrite(str(path), bgr)
    np.testing.assert_allclose(pixels(path), [[[255, 128, 0]]], atol=1)


def test_32_bit_integers_within_16_bit_are_scaled_and_others_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[0, 65535]], dtype=np.int32))
    np.testing.assert_array_equal(pixels(path)[0, :, 0], [0, 255])
    with pytest.raises(ImageReadError, match=r"65535.*70000"):
        read_image(save(tmp_path / "b.tif", np.array([[0, 70000]], dtype=np.int32)))


def test_float_pixels_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(ImageReadError, match=r"a\.tif.*floating-point"):
        read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / "a.png", gradient(), exif=exif)
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(pixels(path), expected)


def test_annotations_made_on_stored_pixels_switch_the_orientation_off(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save(tmp_path / "a.png", gradient(3, 5), exif=exif)
    np.testing.assert_array_equal(pixels(path, expected_wh=(5, 3)), gradient(3, 5))
    turned = np.rot90(gradient(3, 5), k=-1)
    np.testing.assert_array_equal(pixels(path, expected_wh=(3, 5)), turned)


def test_an_unknown_orientation_changes_nothing(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 77
    path = save(tmp_path / "a.png", gradient(), exif=exif)
    np.testing.assert_array_equal(pixels(path), gradient())


def test_a_damaged_exif_block_does_not_hide_the_pixels(tmp_path, caplog):
    path = save(tmp_path / "a.png", gradient(), exif=b"Exif\x00\x00MM\x00*\x00\x00")
    np.testing.assert_array_equal(pixels(path), gradient())
    assert "a.png: the EXIF block is damaged" in caplog.text


def smooth_jpeg(path, width=400, height=304, **options):
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(path, **options)
    return path


@pytest.mark.parametrize(
    ("needed_side", "size"),
    [(38, (50, 38)), (39, (100, 76)), (152, (200, 152)), (153, (400, 304)), (999, (400, 304))],
)
def test_a_jpeg_is_read_as_small_as_is_enough(tmp_path, needed_side, size):
    path = smooth_jpeg(tmp_path / "a.jpg")
    image = read_image(path, expected_wh=(400, 304), needed_side=needed_side)
    assert image.size == size
    whole = read_image(path).resize(size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(whole).astype(int))
    assert difference.max() <= 8


def test_a_reduced_jpeg_is_turned_and_measured_like_the_whole(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = smooth_jpeg(tmp_path / "a.jpg", exif=exif)
    assert read_image(path, needed_side=100).size == (152, 200)
    assert read_image(path, expected_wh=(304, 400), needed_side=100).size == (152, 200)
    assert read_image(path, expected_wh=(400, 304), needed_side=100).size == (200, 152)
    with pytest.raises(ImageReadError, match="400 x 304 px"):
        read_image(path, expected_wh=(200, 152), needed_side=100)


def test_other_files_are_read_whole(tmp_path):
    path = tmp_path / "a.png"
    save(path, gradient(300, 500))
    assert read_image(path, needed_side=10).size == (500, 300)


def test_another_size_than_annotated_is_an_error(tmp_path):
    path = save(tmp_path / "a.png", gradient(3, 5))
    with pytest.raises(ImageReadError, match=r"a\.png.*5 x 3.*6 x 3"):
        read_image(path, expected_wh=(6, 3))


def test_missing_file(tmp_path):
    with pytest.raises(ImageReadError, match=r"gone\.jpg"):
        read_image(tmp_path / "gone.jpg")


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ImageReadError, match=tmp_path.name):
        read_image(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_truncated_file_names_itself(tmp_path, kind, kept):
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind)
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(stream.getvalue()[: int(kept * stream.tell())])
    with pytest.raises(ImageReadError, match=rf"cut\.{kind}: \w+"):
        read_image(path)


def test_text_is_no_image(tmp_path):
    path = tmp_path / "page.jpg"
    path.write_text("<html>404</html>")
    with pytest.raises(DatasetError, match=r"page\.jpg"):
        read_image(path)


def test_decompression_bomb(tmp_path, monkeypatch):
    path = save(tmp_path / "big.png", np.zeros((100, 100), dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageReadError, match=r"big\.png.*bomb"):
        read_image(path)


def test_golden_photo_needs_no_conversion():
    path = GOLDEN_DIR / "images" / "000000005001.jpg"
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels(path, expected_wh=(640, 480)), np.asarray(image))


def test_photos_of_every_kind_are_the_same_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "photo.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    opaque = np.dstack([pixels, np.full((5, 7), 255, np.uint8)])
    kinds = [
        *(tmp_path / "photo.png", str(tmp_path / "photo.png"), image, pixels, opaque),
        *(pixels.astype(np.uint16) * 257, tensor, tensor.float() / 255),
    ]
    for photo in kinds:
        np.testing.assert_array_equal(np.asarray(as_image(photo)), pixels)


def test_gray_arrays_and_images_of_16_bits(tmp_path):
    steps = np.array([[0, 257, 65535]], dtype=np.uint16)
    expected = np.array([[[0] * 3, [1] * 3, [255] * 3]])
    for photo in (steps, Image.fromarray(steps), np.array([[0, 1, 255]], np.uint8)):
        np.testing.assert_array_equal(np.asarray(as_image(photo)), expected)


@pytest.mark.parametrize(
    "photo",
    [
        np.zeros((2, 3, 5), np.uint8),
        np.zeros((2, 3, 3), np.float64),
        np.zeros((0, 3, 3), np.uint8),
        np.zeros((2, 0), np.uint8),
        torch.zeros(3, 0, 4),
        torch.zeros(4, 2, 2),
        torch.full((3, 2, 2), 200.0),
        torch.full((3, 2, 2), float("nan")),
        torch.zeros(3, 2, 2, dtype=torch.int64),
    ],
    ids=[
        *("shape", "dtype", "no-rows", "no-columns", "tensor-without-rows"),
        *("channels", "range", "nan", "tensor-dtype"),
    ],
)
def test_arrays_and_tensors_that_are_no_photos(photo):
    with pytest.raises(ValueError, match="photo"):
        as_image(photo)


def test_objects_that_are_no_photos():
    with pytest.raises(TypeError, match="int"):
        as_image(3)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_is_that_of_the_image_that_is_read(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new("RGB", (7, 4)).save(tmp_path / "photo.jpg", exif=exif)
    assert read_size(tmp_path / "photo.jpg") == read_image(tmp_path / "photo.jpg").size


def test_the_size_of_what_is_no_image(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    for name in ("text.jpg", "absent.jpg"):
        with pytest.raises(ImageReadError, match=name):
            read_size(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "options", "num_missing"),
    [
        *(("jpg", {"progressive": smooth}, n) for smooth in (False, True) for n in (1, 2, 20)),
        *(("png", {}, 20), ("bmp", {}, 20), ("webp", {}, 2)),
    ],
)
def test_a_file_without_its_last_bytes_is_read(tmp_path, kind, options, num_missing, caplog):
    """Viewers show such photos whole; half a photo is refused, as another test says."""
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    path = tmp_path / f"short.{kind}"
    rough.resize((640, 480)).save(path, **options)
    expected = np.asarray(read_image(path))
    path.write_bytes(path.read_bytes()[:-num_missing])
    assert not caplog.records
    found = np.asarray(read_image(path))
    differing = np.flatnonzero((found != expected).any(axis=(1, 2)))
    assert len(differing) <= 24
    if kind == "jpg":
        assert "short.jpg lacks its last bytes" in caplog.text


def test_a_plain_photo_without_its_last_bytes_is_whole(tmp_path):
    """What the decoder fills in looks like a plain background, and must not be taken for it."""
    path = tmp_path / "plain.jpg"
    Image.new("RGB", (64, 64), "white").save(path)
    path.write_bytes(path.read_bytes()[:-2])
    assert (np.asarray(read_image(path)) == 255).all()


@pytest.mark.parametrize("size_wh", [(8, 8), (8, 6)])
@pytest.mark.parametrize("orientation", [3, 6])
def test_where_both_ways_have_the_annotated_size_photos_are_turned(tmp_path, size_wh, orientation):
    """A square, or turned by 180 degrees: most tools show photos as their EXIF note says."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    rng = np.random.default_rng(0)
    path = tmp_path / "turned.png"
    pixels = rng.integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    is_stored = size_wh == (8, 6) and orientation == 6
    expected = pixels if is_stored else np.asarray(read_image(path))
    np.testing.assert_array_equal(np.asarray(read_image(path, size_wh)), expected)
    look_at_image(path, size_wh)


@pytest.mark.parametrize("damage", ["missing", "other size", "no image", "half"])
def test_a_look_at_the_ends_finds_what_reading_would(tmp_path, damage):
    path = tmp_path / "photo.jpg"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    look_at_image(path, (64, 48))
    if damage == "missing":
        path.unlink()
    elif damage == "no image":
        path.write_text("no image")
    elif damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageReadError, match=r"photo\.jpg"):
        look_at_image(path, (60, 48) if damage == "other size" else (64, 48))


@pytest.mark.parametrize("suffix", ["bmp", "png", "tiff", "ppm", "webp", "jpg"])
def test_pixels_are_the_readers_own_whatever_becomes_of_the_file(tmp_path, suffix):
    path = tmp_path / f"photo.{suffix}"
    Image.new("RGB", (40, 30), (10, 200, 30)).save(path)
    image = read_image(path)
    before = np.array(image)
    path.write_bytes(bytes(path.stat().st_size))
    path.unlink()
    np.testing.assert_array_equal(image, before)
    image.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) == (1, 2, 3)
    copy = pickle.loads(pickle.dumps(image))
    np.testing.assert_array_equal(copy, image)
