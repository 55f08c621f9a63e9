"""A data set of three images and a model that finds exactly what is on them."""

import torch
from torch import nn

from maskrcnn_benchmark.structures.image_list import ImageList
from tests.evaluation.fakes import (
    FakeDataset,
    detections,
    square_annotation,
    two_image_content,
)

# Object i of the fake data set, as (image id, category id, xywh).
OBJECTS = [(11, 3, (10, 10, 40, 40)), (12, 7, (5, 20, 50, 30)), (13, 3, (40, 40, 20, 20))]


def fake_dataset():
    content = two_image_content(
        [square_annotation(i + 1, *where) for i, where in enumerate(OBJECTS)]
    )
    content["images"].append({"id": 13, "width": 100, "height": 80, "file_name": "c.jpg"})
    return FakeDataset(content)


class FakeLoader:
    """One image a batch; a pixel of each image holds its id, for the model to see."""

    def __init__(self, image_ids):
        self.image_ids = image_ids
        self.dataset = fake_dataset()

    def __len__(self):
        return len(self.image_ids)

    def __iter__(self):
        for image_id in self.image_ids:
            yield ImageList(torch.full((1, 3, 80, 100), image_id), [(80, 100)]), None, (image_id,)


class Oracle(nn.Module):
    """Finds exactly the object of an image (boxes are inclusive, so they end a pixel earlier)."""

    def forward(self, images, targets=None):
        assert not self.training
        assert not torch.is_grad_enabled()
        label_of = {3: 1, 7: 2}
        found = {
            image_id: detections([[x, y, x + w - 1, y + h - 1]], [label_of[category]], [0.9])
            for image_id, category, (x, y, w, h) in OBJECTS
        }
        return [found[int(image[0, 0, 0])] for image in images.tensors]
