import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.timing.contenders import Contender, Inputs


@pytest.fixture
def photo(tmp_path):
    """A JPEG file, dark on the left and bright on the right."""
    image = Image.new("RGB", (640, 400), (30, 30, 30))
    image.paste((220, 220, 220), (320, 0, 640, 400))
    image.save(tmp_path / "photo.jpg", quality=95)
    return tmp_path / "photo.jpg"


@pytest.mark.parametrize(("backend", "read_wh"), [("pil", (640, 400)), ("fast", (160, 100))])
def test_photos_are_read_as_an_evaluation_reads_them_and_masks_have_their_size(
    photo, backend, read_wh
):
    cfg = get_default_config()
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", 60, "INPUT.MAX_SIZE_TEST", 200])
    inputs = Inputs.from_config(cfg, backend)
    assert inputs.read(photo).size == read_wh
    seen = []

    def detect(images):
        seen.append(images)
        height, width = images.image_sizes[0]
        boxes = BoxList(torch.tensor([[0.0, 0, width - 1, height - 1]]), (width, height))
        boxes.add_field("mask", torch.ones(1, 1, 28, 28))
        return [boxes]

    (found,) = Contender(detect=detect, inputs=inputs)([photo])
    assert seen[0].image_sizes == [(60, 96)]
    assert [each["size"] for each in found] == [[400, 640]]
    pixels = seen[0].tensors[0, :, :60, :96]
    assert (pixels[..., :40] < pixels[..., 56:].amin()).all()
