"""What is timed: from the files of some photos to COCO's run lengths of all masks."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.data.collate_batch import pad_together
from maskrcnn_benchmark.data.image_io import read_image, read_size
from maskrcnn_benchmark.data.transforms import (
    build_pixel_normalizer,
    build_pixel_transforms,
    make_needed_side,
    make_size_divisor,
)
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES, Detect
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, PixelNormalizer
from maskrcnn_benchmark.timing.stages import StageTimes

CPU: Final = torch.device("cpu")
Photos = Sequence[Path]


class Inputs:
    """Photos as a model is given them.

    Args:
        transform: ``transform(photo, None)`` returns a (3, H, W) tensor and ``None``.
        normalizer: what the model wants done with 8-bit pixels.
        divisor: sides are padded to multiples of it; 0 leaves them.
        needed_side: px of the shorter side that suffice for ``transform``; None: all there are.
    """

    def __init__(
        self,
        *,
        transform: Callable[[Image.Image, None], tuple[Any, Any]],
        normalizer: PixelNormalizer | None,
        divisor: int,
        needed_side: int | None = None,
    ) -> None:
        self.needed_side = needed_side
        self.transform = transform
        self.normalizer = normalizer
        self.divisor = divisor

    @classmethod
    def from_config(cls, cfg: CfgNode, backend: str) -> "Inputs":
        """Those of the sections INPUT and DATALOADER, with this INPUT.RESIZE_BACKEND."""
        ours = cfg.clone()
        ours.defrost()
        ours.INPUT.RESIZE_BACKEND = backend
        return cls(
            transform=build_pixel_transforms(ours, is_train=False),
            normalizer=build_pixel_normalizer(ours),
            divisor=make_size_divisor(cfg),
            needed_side=make_needed_side(ours, is_train=False),
        )

    def read(self, path: Path) -> Image.Image:
        """The photo in a file, or a smaller version that suffices, as an evaluation reads it."""
        return read_image(path, needed_side=self.needed_side)

    def of_files(self, paths: Photos) -> Tensor:
        """The normalised batch (N, 3, H, W) of the photos in some files."""
        return self(map(self.read, paths)).tensors

    def __call__(self, photos: Iterable[Image.Image]) -> ImageList:
        """The normalised batch of some photos."""
        pixels = [self.transform(photo, None)[0] for photo in photos]
        return pad_together(pixels, self.divisor, self.normalizer).to(CPU)


class Contender:
    """A model of this package in an inference mode.

    Args:
        detect: computes detections of a batch of images.
        inputs: makes the batch.
    """

    def __init__(self, *, detect: Detect, inputs: Inputs) -> None:
        self.detect = detect
        self.inputs = inputs
        self.times = StageTimes()
        self.times.watch(detect)

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module, mode: str) -> "Contender":
        """A model of these settings, in evaluation mode and on the CPU, in a mode by its name.

        `plain` resizes photos as the original did, all others as fast as they can.
        """
        inputs = Inputs.from_config(cfg, "pil" if mode == "plain" else "fast")
        return cls(detect=INFERENCE_MODES[mode](model, CPU), inputs=inputs)

    @property
    def has_parts(self) -> bool:
        """Whether the mode gives a model whose parts can be called alone."""
        return isinstance(self.detect, nn.Module)

    def __call__(self, paths: Photos) -> list[Any]:
        """The run lengths of the masks in each photo; boxes of a model without masks."""
        times = self.times
        times.clear()
        with torch.no_grad():
            with times.stage("decode"):
                photos = [self.inputs.read(path) for path in paths]
                sizes = [read_size(path) for path in paths]
            with times.stage("resize"):
                images = self.inputs(photos)
                # Large photos would take as much memory as the network.
                del photos
            with times.stage("selection"):
                found = self.detect(images)
            with times.stage("paste, RLE"):
                sized = [each.resize(size) for each, size in zip(found, sizes, strict=True)]
                return [encode_objects(boxes) for boxes in sized]

    def dense(self, images: Tensor) -> object:
        """The outputs of backbone, pyramid and head for a batch of images; needs ``has_parts``."""
        model: Any = self.detect
        return model.rpn.head(model.backbone(images))


def encode_objects(boxes: BoxList) -> list[Any]:
    """The run lengths of the masks of some objects; boxes of a model without masks."""
    return boxes.predicted_masks.encode() if boxes.has_field("mask") else boxes.bbox.tolist()
