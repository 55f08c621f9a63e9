"""Photos in, what a model finds on them out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, overload

from PIL import Image
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.data.collate_batch import pad_together
from maskrcnn_benchmark.data.image_io import Photo, as_image
from maskrcnn_benchmark.data.transforms import (
    build_pixel_normalizer,
    build_pixel_transforms,
    make_size_divisor,
)
from maskrcnn_benchmark.engine.detections import Detections
from maskrcnn_benchmark.engine.forward import (
    ModelRunner,
    build_pretrained_model,
    make_model_description,
)
from maskrcnn_benchmark.engine.launch import ProcessPlace, select_device
from maskrcnn_benchmark.engine.settings import load_checkpoint_settings
from maskrcnn_benchmark.structures.image_list import PixelNormalizer
from maskrcnn_benchmark.visualization.class_names import build_class_names
from maskrcnn_benchmark.visualization.draw import as_instances
from maskrcnn_benchmark.weights.load_report import CheckpointError

DEFAULT_SCORE_THRESHOLD: Final = 0.5
"""Of models for which nobody has looked for a better one."""
_EXPORTED: Final = ".onnx"


class Predictor:
    """Prepares a photo, runs a model on it and scales the detections back.

    Args:
        runner: of the model.
        transform: ``transform(photo, None)`` returns a (3, H, W) tensor and ``None``: the input,
            or with a normalizer 8-bit pixels.
        size_divisible: input sides are padded to multiples of this; 0 leaves them.
        normalizer: what the model wants done with 8-bit pixels.
        class_names: label to name.
        class_ids: label to the class's id in annotations; a label without one is its own.
        score_threshold: the score, 0 to 1, from which detections are worth showing. Less sure
            ones are returned, too: ``predictor(photo).above(predictor.score_threshold)``.
        batch_size: photos of a list that go through the model together.
    """

    def __init__(
        self,
        *,
        runner: ModelRunner,
        transform: Callable[[Image.Image, None], tuple[Any, Any]],
        size_divisible: int = 0,
        normalizer: PixelNormalizer | None = None,
        class_names: Mapping[int, str] = MappingProxyType({}),
        class_ids: Mapping[int, int] = MappingProxyType({}),
        score_threshold: float = DEFAULT_SCORE_THRESHOLD,
        batch_size: int = 8,
    ) -> None:
        self.runner = runner
        self.transform = transform
        self.size_divisible = size_divisible
        self.normalizer = normalizer
        self.class_names = class_names
        self.class_ids = class_ids
        self.score_threshold = score_threshold
        self.batch_size = batch_size

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        device: str | None = None,
        opts: Sequence[object] = (),
    ) -> Predictor:
        """The predictor of the model in a checkpoint, which needs no other file.

        Args:
            path: of a checkpoint that a training of this package has written.
            device: "cpu", "cuda" or "cuda:N"; None takes a GPU if there is one.
            opts: names and values of settings in turn, over those in the checkpoint.

        Raises:
            CheckpointError: it is absent, damaged, or does not say which model it is of.
            ConfigError: a setting is unknown or does not fit.
        """
        file = os.path.expanduser(os.fspath(path))
        if file.lower().endswith(_EXPORTED):
            raise CheckpointError(
                f"{file} is an exported model, which centermask_runtime.Predictor.from_onnx runs"
            )
        cfg = load_checkpoint_settings(file, device=device)
        cfg.merge_from_list(list(opts))
        cfg.freeze()
        return cls.from_config(cfg, file)

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
        description = make_model_description(cfg, weights)
        threshold = description.score_threshold if description else None
        return cls(
            runner=ModelRunner.from_config(cfg, model, device),
            transform=build_pixel_transforms(cfg, is_train=False),
            size_divisible=make_size_divisor(cfg),
            normalizer=build_pixel_normalizer(cfg),
            class_names=(description and description.class_names()) or build_class_names(cfg),
            class_ids=description.class_ids() if description else {},
            score_threshold=DEFAULT_SCORE_THRESHOLD if threshold is None else threshold,
        )

    @overload
    def __call__(self, image: Photo) -> Detections: ...

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Detections]: ...

    def __call__(self, image: Photo | list[Any] | tuple[Any, ...]) -> Detections | list[Detections]:
        """The detections on a photo, in px of the photo, on the CPU; a list of them for a list.

        The photos of a list go through the model together, ``batch_size`` at a time.

        Args:
            image: a path, a Pillow image, an array (RGB; of OpenCV's BGR give ``[..., ::-1]``) or
                a tensor, see ``as_image``; or a list or tuple of such.

        Returns:
            K objects, each with ``name``, ``score``, ``box`` and ``mask``. They are a ``BoxList``,
            too, of boxes (xyxy) with ``labels``, ``scores`` and, of a model with a mask head,
            ``mask`` ((K, 1, M, M) probabilities inside the boxes) and ``mask_scores``, of one with
            a keypoint head, ``keypoints``. Proposals of regions are of class 1.
        """
        if not isinstance(image, (list, tuple)):
            return self._detect([image])[0]
        starts = range(0, len(image), self.batch_size)
        return [found for at in starts for found in self._detect(image[at : at + self.batch_size])]

    def _detect(self, given: Sequence[Photo]) -> list[Detections]:
        tensors, sizes = zip(*map(self._prepared, given), strict=True)
        images = pad_together(tensors, self.size_divisible, self.normalizer)
        with self.runner.evaluating() as detect:
            found = detect(images)
        return [
            Detections(as_instances(boxes.resize(size)), self.class_names, self.class_ids)
            for boxes, size in zip(found, sizes, strict=True)
        ]

    def _prepared(self, given: Photo) -> tuple[Tensor, tuple[int, int]]:
        """What the model gets of a photo, and the photo's (width, height); the photo may go."""
        photo = as_image(given)
        return self.transform(photo, None)[0], photo.size
