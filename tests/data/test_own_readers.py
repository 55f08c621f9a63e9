"""Data sets of classes that were written for the original program."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.data import build, datasets, make_data_loader
from maskrcnn_benchmark.structures.bounding_box import BoxList

SETTINGS = (
    *("MODEL.NUM_CLASSES", 3, "MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", True),
    *("DATASETS.TEST", ("tiny",), "DATALOADER.NUM_WORKERS", 0),
    *("INPUT.MIN_SIZE_TRAIN", (8, 12, 16), "INPUT.MAX_SIZE_TRAIN", 40),
    *("INPUT.MIN_SIZE_TEST", 16, "INPUT.MAX_SIZE_TEST", 40),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 9, "TEST.IMS_PER_BATCH", 2),
)


class OldReader:
    """As the original asks for: no names, and the index in place of the image id."""

    def __init__(self, num_images, transforms=None):
        self.num_images, self.transforms = num_images, transforms

    def __len__(self):
        return self.num_images

    def get_img_info(self, index):
        return {"height": 8, "width": 8 + index}

    def __getitem__(self, index):
        image = Image.new("RGB", (8 + index, 8))
        target = BoxList([[0, 0, 4, 4]], image.size)
        target.add_field("labels", torch.tensor([1]))
        if self.transforms is not None:
            image, target = self.transforms(image, target)
        return image, target, index


@pytest.mark.parametrize("is_train", [True, False])
def test_readers_written_for_the_original(monkeypatch, is_train):
    def get(name):
        return {"factory": "OldReader", "args": {"num_images": 3}}

    catalog = SimpleNamespace(get=get)
    monkeypatch.setattr(datasets, "OldReader", OldReader, raising=False)
    monkeypatch.setattr(build, "import_catalog", lambda _: SimpleNamespace(DatasetCatalog=catalog))
    cfg = get_default_config()
    cfg.merge_from_list(list(SETTINGS))
    cfg.DATASETS.TRAIN = ("old", "older")
    loaders = make_data_loader(cfg, is_train)
    for loader in [loaders] if is_train else loaders:
        images, targets, indices = next(iter(loader))
        assert len(images.tensors) == len(targets) == len(indices)
        assert loader.dataset.categories == {1: "class 1", 2: "class 2"}
    assert loader.dataset.name == ("old + older" if is_train else "tiny")
