"""One photo in, what a model finds on it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.data.collate_batch import pad_together
from maskrcnn_benchmark.data.transforms import build_pixel_normalizer, build_pixel_transforms
from maskrcnn_benchmark.engine.forward import ModelRunner, build_pretrained_model
from maskrcnn_benchmark.engine.launch import ProcessPlace, select_device
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import PixelNormalizer


class Predictor:
    """Prepares a photo, runs a model on it and scales the detections back.

    Args:
        runner: of the model.
        transform: ``transform(photo, None)`` returns a (3, H, W) tensor and ``None``: the input,
            or with a normalizer 8-bit pixels.
        size_divisible: input sides are padded to multiples of this; 0 leaves them.
        normalizer: what the model wants done with 8-bit pixels.
    """

    def __init__(
        self,
        *,
        runner: ModelRunner,
        transform: Callable[[Image.Image, None], tuple[Any, Any]],
        size_divisible: int = 0,
        normalizer: PixelNormalizer | None = None,
    ) -> None:
        self.runner = runner
        self.transform = transform
        self.size_divisible = size_divisible
        self.normalizer = normalizer

    @classmethod
    def from_config(
        cls, cfg: CfgNode, weights: str | None = None, model: nn.Module | None = None
    ) -> Predictor:
        """The predictor that a configuration describes, on MODEL.DEVICE.

        Args:
            cfg: settings.
            weights: a file, URL or ``catalog://`` name that fits the model exactly; ``None`` takes
                the last checkpoint in OUTPUT_DIR, or MODEL.WEIGHT where there is none.
            model: use this one, which has its weights already and is on MODEL.DEVICE.

        Raises:
            CheckpointError: the weights are absent, damaged, or do not fit.
        """
        device = select_device(cfg.MODEL.DEVICE, ProcessPlace.from_environment(None))
        if model is None:
            model = build_pretrained_model(cfg, device, weights)
        return cls(
            runner=ModelRunner.from_config(cfg, model, device),
            transform=build_pixel_transforms(cfg, is_train=False),
            size_divisible=cfg.DATALOADER.SIZE_DIVISIBILITY,
            normalizer=build_pixel_normalizer(cfg),
        )

    def __call__(self, image: Image.Image) -> BoxList:
        """The detections on an RGB photo of any size, in px of the photo, on the CPU.

        Returns:
            K boxes (xyxy) with ``labels``, ``scores`` and, of a model with a mask head, ``mask``
            ((K, 1, M, M) probabilities inside the boxes) and ``mask_scores``, of one with a
            keypoint head, ``keypoints``.
        """
        tensor = self.transform(image.convert("RGB"), None)[0]
        images = pad_together([tensor], self.size_divisible, self.normalizer)
        with self.runner.evaluating() as detect:
            (detections,) = detect(images)
        return detections.resize(image.size)
