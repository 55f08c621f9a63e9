"""What evaluators keep of every image, over all processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from maskrcnn_benchmark.evaluation.result import count
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste import resize_detections
from maskrcnn_benchmark.utils.comm import all_gather, is_main_process

T = TypeVar("T")


class CocoAnnotated(Protocol):
    """What an evaluator asks of a data set; ``COCODataset`` has it."""

    name: str
    image_ids: Sequence[int]
    contiguous_category_id_to_json_id: Mapping[int, int]

    def get_img_info(self, index: int) -> Mapping[str, Any]:
        """The COCO ``images`` entry of image number ``index``."""

    def ground_truth(self) -> dict[str, Any]:
        """The COCO JSON content, as a copy that the caller may change."""


class ImageResults(Generic[T]):
    """One result for each image that this process has seen.

    Args:
        dataset: the evaluated data set.
        make: (image id, predictions in px of the original image) -> what is kept of them.
    """

    def __init__(self, dataset: CocoAnnotated, make: Callable[[int, BoxList], T]) -> None:
        self.dataset = dataset
        self.make = make
        self._index_of = {int(image_id): i for i, image_id in enumerate(dataset.image_ids)}
        self._results: dict[int, T] = {}

    def clear(self) -> None:
        """Forget all results."""
        self._results = {}

    def add(self, image_ids: Sequence[int], predictions: Sequence[BoxList]) -> None:
        """Keep results of some images; those of an image seen before replace the earlier.

        Args:
            image_ids: N COCO image ids.
            predictions: N predictions in px of the resized images.

        Raises:
            ValueError: the lengths differ, or an image is not in the data set.
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
            original = resize_detections(prediction, (int(info["width"]), int(info["height"])))
            self._results[key] = self.make(key, original)

    def gather(self) -> dict[int, T] | None:
        """The results of all processes by image id, on the main process; ``None`` on the others.

        Every process must call this.
        """
        gathered: dict[int, T] = {}
        for results in all_gather(self._results):
            gathered.update(results)
        return gathered if is_main_process() else None

    def coverage_notes(self, gathered: Mapping[int, T]) -> tuple[str, ...]:
        """A sentence if images of the data set are missing, else nothing."""
        num_missing = len(self.dataset.image_ids) - len(gathered)
        if not num_missing:
            return ()
        images = count(num_missing, "image")
        return (f"{images} never went through the model: counted as without detections",)
