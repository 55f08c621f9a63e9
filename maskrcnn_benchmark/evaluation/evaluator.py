"""What every evaluator does: collect results image by image, over all processes, and score them."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch

from maskrcnn_benchmark.evaluation.result import EvaluationResult, count
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.comm import all_gather, is_main_process
from maskrcnn_benchmark.utils.files import atomic_write, write_json

logger = logging.getLogger(__name__)

T = TypeVar("T")


class AnnotatedDataset(Protocol):
    """What an evaluator asks of a data set."""

    @property
    def name(self) -> str:
        """What to call it in messages and results."""

    @property
    def image_ids(self) -> Sequence[int]:
        """The id of each image."""

    @property
    def contiguous_category_id_to_json_id(self) -> Mapping[int, int]:
        """Label -> category id of the ground truth."""

    def get_img_info(self, index: int) -> Mapping[str, Any]:
        """At least "height" and "width" (px) of image number ``index``."""

    def ground_truth(self) -> dict[str, Any]:
        """The COCO JSON content, as a copy that the caller may change."""


class Evaluator(ABC, Generic[T]):
    """Collects what a model finds image by image and scores it; the data set is never changed.

    Args:
        dataset: the evaluated data set.
        output_folder: where ``evaluate`` writes ``predictions.pth``, the numbers and what else the
            evaluator has; None writes nothing.
    """

    NUMBERS_FILE: ClassVar[str] = "coco_results.json"

    def __init__(self, dataset: AnnotatedDataset, output_folder: str | Path | None = None) -> None:
        self.dataset = dataset
        self.output_folder = None if output_folder is None else Path(output_folder)
        self._index_of = {int(image_id): i for i, image_id in enumerate(dataset.image_ids)}
        self._kept: dict[int, T] = {}

    @abstractmethod
    def keep(self, image_id: int, predictions: BoxList) -> T:
        """What is kept of predictions, in px of the original image, until they are scored."""

    @abstractmethod
    def score(self, gathered: Mapping[int, T]) -> EvaluationResult:
        """The numbers of what was kept of all images, by image id."""

    def reset(self) -> None:
        """Forget all predictions."""
        self._kept = {}

    def process(self, image_ids: Sequence[int], predictions: Sequence[BoxList]) -> None:
        """Add the predictions on some images; those on an image seen before replace the earlier.

        Args:
            image_ids: N ids of the data set.
            predictions: N predictions in px of the resized images. Detections have the fields
                ``labels``, ``scores`` and, for the tasks of that name, ``mask`` and ``keypoints``;
                proposals have ``objectness``.

        Raises:
            ValueError: the lengths differ, an image is not in the data set, or a label is unknown.
        """
        if len(image_ids) != len(predictions):
            raise ValueError(
                f"process: got {len(image_ids)} image ids for {len(predictions)} predictions"
            )
        for image_id, prediction in zip(image_ids, predictions, strict=True):
            key = int(image_id)
            if key not in self._index_of:
                raise ValueError(f"process: image {key} is not in {self.dataset.name}")
            info = self.dataset.get_img_info(self._index_of[key])
            original = prediction.resize((int(info["width"]), int(info["height"])))
            self._kept[key] = self.keep(key, original)

    def evaluate(self) -> EvaluationResult | None:
        """The numbers over all processes, on the main process; None on the others.

        Every process must call this. Predictions are written before anything is computed, so they
        are there even if the ground truth turns out to be unusable.
        """
        gathered: dict[int, T] = {}
        for kept in all_gather(self._kept):
            gathered.update(kept)
        if not is_main_process():
            return None
        if self.output_folder is not None:
            # Data sets written for the original have no such thing.
            texts = getattr(self.dataset, "image_texts", {})
            with atomic_write(self.output_folder / "predictions.pth") as file:
                torch.save({texts.get(key, key): kept for key, kept in gathered.items()}, file)
        started = time.perf_counter()
        result = self.score(gathered)
        seconds = time.perf_counter() - started
        logger.info("Evaluation took %.1f s\n%s", seconds, result.table())
        if self.output_folder is not None:
            write_json(self.output_folder / self.NUMBERS_FILE, result.to_json(), indent=1)
        return result

    def coverage_notes(self, gathered: Mapping[int, T]) -> tuple[str, ...]:
        """A sentence if images of the data set are missing, else nothing."""
        num_missing = len(self.dataset.image_ids) - len(gathered)
        if not num_missing:
            return ()
        images = count(num_missing, "image")
        return (f"{images} never went through the model: counted as without detections",)
