"""Running a model over a data set and scoring what it finds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.data.datasets.interface import as_detection_dataset
from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.engine.progress import format_seconds, make_progress_bar
from maskrcnn_benchmark.evaluation import EvaluationResult, Evaluator, check_expected_results
from maskrcnn_benchmark.utils.comm import get_world_size, is_main_process, synchronize
from maskrcnn_benchmark.utils.files import as_file_name
from maskrcnn_benchmark.utils.logger import progress_extra

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from maskrcnn_benchmark.data.collate_batch import Batch

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


@dataclass(slots=True)
class InferenceTimes:
    """Seconds that this process spent, and the images it spent them on.

    ``data`` waiting for batches, ``model`` in the model (device included), ``results`` in pasting
    masks and collecting them.
    """

    data: float = 0.0
    model: float = 0.0
    results: float = 0.0
    num_images: int = 0

    def per_image(self) -> str:
        """The three times, each divided by the number of images, as a sentence."""
        num_images = max(self.num_images, 1)
        return (
            f"model {self.model / num_images:.4f} s, data {self.data / num_images:.4f} s, "
            f"results {self.results / num_images:.4f} s per image and process"
        )


def inference(
    model: nn.Module,
    data_loader: DataLoader[Any],
    dataset_name: str,
    iou_types: Sequence[str] = ("bbox",),
    box_only: bool = False,
    device: str | torch.device = "cuda",
    expected_results: Sequence[Any] = (),
    expected_results_sigma_tol: float = 4,
    output_folder: str | Path | None = None,
    backend: str = "hotcoco",
    mode: str = "plain",
) -> EvaluationResult | None:
    """The scores of ``model`` on a data set, on the main process; None on the others.

    Every process must call this; each works on the batches that its loader gives it. The model is
    in evaluation mode meanwhile and in its former mode afterwards. The tables are logged.

    Args:
        model: ``model(images)`` returns one ``BoxList`` an image, in px of the resized image.
        data_loader: gives ``Batch``es of ``data_loader.dataset``.
        dataset_name: for the log.
        iou_types: some of "bbox", "segm" and "keypoints"; VOC's own data gets VOC's numbers.
        box_only: the model yields proposals without classes; their recall is scored, whatever
            ``iou_types`` says.
        device: where the model is.
        expected_results: ``TEST.EXPECTED_RESULTS``, compared with the scores in the log.
        expected_results_sigma_tol: how many standard deviations off they may be.
        output_folder: where result files go; None writes none.
        backend: "hotcoco" or "pycocotools".
        mode: name in ``INFERENCE_MODES``.
    """
    runner = ModelRunner(model, device=torch.device(device), mode=mode)
    dataset = as_detection_dataset(data_loader.dataset, dataset_name)
    evaluator = dataset.make_evaluator(
        iou_types, box_only=box_only, backend=backend, output_folder=output_folder
    )
    logger.info("Start evaluation on %s (%d images)", dataset_name, len(dataset.image_ids))
    _process_data_set(runner, data_loader, evaluator, dataset_name)
    result = evaluator.evaluate()
    if result is not None:
        for iou_type in result.per_class:
            logger.info("%s\n%s", dataset_name, result.per_class_table(iou_type))
        check_expected_results(result, expected_results, expected_results_sigma_tol)
    return result


def _process_data_set(
    runner: ModelRunner, data_loader: Iterable[Batch], evaluator: Evaluator[Any], name: str
) -> None:
    """Give the evaluator what the model finds; log how long it took."""
    synchronize()
    start = time.perf_counter()
    times = compute_on_dataset(runner, data_loader, evaluator)
    synchronize()
    logger.info(
        "Went through %s in %s on %d processes: %s",
        name,
        format_seconds(time.perf_counter() - start),
        get_world_size(),
        times.per_image(),
    )


def compute_on_dataset(
    runner: ModelRunner, data_loader: Iterable[Batch], evaluator: Evaluator[Any]
) -> InferenceTimes:
    """The time it took to give the evaluator what the model finds in each batch, on the CPU."""
    times = InferenceTimes()
    with runner.evaluating() as detect:
        clock = time.perf_counter()
        for images, _, image_ids in _with_progress(data_loader):
            data_ready = time.perf_counter()
            # They are copied to the CPU, which waits for the device: its work is the model's.
            detections = detect(images)
            model_done = time.perf_counter()
            evaluator.process(image_ids, detections)
            times.data += data_ready - clock
            clock = time.perf_counter()
            times.model += model_done - data_ready
            times.results += clock - model_done
            times.num_images += len(image_ids)
    return times


def _with_progress(data_loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches, with a bar on a terminal and a line with ETA every ten seconds in the log."""
    total = len(data_loader)  # type: ignore[arg-type]  # test loaders have a length
    start = last_line = time.perf_counter()
    with make_progress_bar(total, desc="inference") as bar:
        for done, batch in enumerate(data_loader, start=1):
            yield batch
            bar.update()
            now = time.perf_counter()
            if is_main_process() and now - last_line >= _SECONDS_BETWEEN_LINES:
                last_line = now
                eta = format_seconds((now - start) / done * (total - done))
                logger.info("batch %d of %d, eta: %s", done, total, eta, extra=progress_extra())


def make_evaluation(
    cfg: CfgNode, runner: ModelRunner, dataset_name: str, data_loader: DataLoader[Any]
) -> Callable[..., EvaluationResult | None]:
    """``inference`` with all it needs to evaluate the model of ``runner`` on one data set.

    ``dataset_name`` is one of ``DATASETS.TEST``; results go to ``OUTPUT_DIR/inference/<name>``.
    """
    spec = ArchitectureSpec.from_config(cfg)
    return partial(
        inference,
        runner.model,
        data_loader,
        dataset_name,
        iou_types=spec.iou_types,
        box_only=spec.box_only,
        device=runner.device,
        output_folder=Path(cfg.OUTPUT_DIR) / "inference" / as_file_name(dataset_name),
        backend=cfg.TEST.COCO_BACKEND,
        mode=cfg.TEST.INFERENCE_MODE,
    )
