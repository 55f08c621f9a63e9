"""Models, images and ground truths to measure on; no file but a configuration is read."""

from typing import NamedTuple

import torch
from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.data.collate_batch import Batch
from maskrcnn_benchmark.engine.forward import build_model
from maskrcnn_benchmark.engine.modes.rewrite import input_std
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.timing.random_weights import fitting_norms


class Scene(NamedTuple):
    """A model and the images that it is given.

    Attributes:
        config: name under configs/.
        image_hw: sides of the images, multiples of 32.
        batch: number of images.
        objects: ground truths of each image, in training.
    """

    config: str
    image_hw: tuple[int, int]
    batch: int = 1
    objects: int = 0


def read_settings(config: str, device: torch.device) -> CfgNode:
    """Those of a configuration, for a model with random weights on a device."""
    options = ["MODEL.WEIGHT", "", "MODEL.DEVICE", device.type]
    return load_settings(f"configs/{config}.yaml", options)


def title(scene: Scene) -> str:
    """The scene in words."""
    height, width = scene.image_hw
    return f"{scene.config.rpartition('/')[2]}, {scene.batch} x {height} x {width}"


def make_images(scene: Scene, device: torch.device) -> ImageList:
    """Smooth random pictures: noise alone looks like nothing to a network."""
    generator = torch.Generator().manual_seed(1)
    coarse = 60 * torch.randn(scene.batch, 3, 12, 20, generator=generator)
    tensors = nn.functional.interpolate(coarse, scene.image_hw, mode="bicubic")
    return ImageList(tensors.to(device), [scene.image_hw] * scene.batch)


def make_model(cfg: CfgNode, images: ImageList, device: torch.device) -> nn.Module:
    """A model with random weights whose norms fit its maps, in training mode.

    They fit those of the first image and of noise, which inference modes try models out on: where
    they fit one alone, maps of the other grow without bounds in deep models.
    """
    torch.manual_seed(0)
    model = build_model(cfg, device)
    first = images.tensors[:1]
    generator = torch.Generator().manual_seed(1)
    noise = input_std(model) * torch.randn(first.shape, generator=generator).to(first)
    with torch.no_grad(), fitting_norms(model):
        model.rpn.head(model.backbone(torch.cat([first, noise])))
    return model


def make_batch(scene: Scene) -> Batch:
    """Images and as many objects: an octagon in each box."""
    height, width = scene.image_hw
    generator = torch.Generator().manual_seed(2)
    size, targets = torch.tensor([width, height]), []
    for _ in range(scene.batch):
        corners = torch.rand(scene.objects, 2, generator=generator) * size / 2
        sides = (0.1 + 0.3 * torch.rand(scene.objects, 2, generator=generator)) * size
        boxes = torch.cat([corners, corners + sides], dim=1)
        target = BoxList(boxes, (width, height))
        target.add_field("labels", torch.ones(scene.objects, dtype=torch.int64))
        octagons = [[_octagon(*box)] for box in boxes.tolist()]
        target.add_field("masks", SegmentationMask(octagons, (width, height)))
        targets.append(target)
    images = make_images(scene, torch.device("cpu"))
    return Batch(images, tuple(targets), tuple(range(scene.batch)))


def _octagon(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    a, b = (x2 - x1) / 4, (y2 - y1) / 4
    return [
        *(x1 + a, y1, x2 - a, y1, x2, y1 + b, x2, y2 - b),
        *(x2 - a, y2, x1 + a, y2, x1, y2 - b, x1, y1 + b),
    ]
