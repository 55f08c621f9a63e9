"""Whole pieces of work from a configuration: a trained model, its scores."""

import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data import (
    Datasets,
    make_datasets,
    make_test_loader,
    make_train_loader,
)
from maskrcnn_benchmark.data.datasets import DetectionDataset
from maskrcnn_benchmark.data.datasets.readers import ContentReader
from maskrcnn_benchmark.data.photo_checks import check_photos
from maskrcnn_benchmark.engine.data_fit import fit_to_data
from maskrcnn_benchmark.engine.forward import (
    ModelRunner,
    build_pretrained_model,
    make_model_description,
    make_training_runner,
)
from maskrcnn_benchmark.engine.inference import make_evaluation
from maskrcnn_benchmark.engine.launch import Run
from maskrcnn_benchmark.engine.random_state import seed_everything
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.engine.validation import ValidationSettings
from maskrcnn_benchmark.evaluation import EvaluationResult, Expectations, check_entries
from maskrcnn_benchmark.evaluation.coco_backends import check_backend
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.utils.comm import is_main_process, synchronize
from maskrcnn_benchmark.utils.files import atomic_write, remove_unfinished, write_json
from maskrcnn_benchmark.weights.checkpoint import (
    DetectronCheckpointer,
    find_last_checkpoint,
    store_score_threshold,
)
from maskrcnn_benchmark.weights.description import Category, find_description

logger = logging.getLogger(__name__)

DIVISION: Final = "division.json"
"""In OUTPUT_DIR: the photos of each part of data that came without a validation part."""


def make_training(
    cfg: CfgNode, run: Run, *, tests: bool = True, read: ContentReader | None = None
) -> dict[str, EvaluationResult | None]:
    """The scores of a model on DATASETS.TEST after its training; none without ``tests``.

    What the evaluation would complain about is raised before the training. ``read`` has perhaps
    read the annotations already. Every process of ``run`` must call this.

    Raises:
        ConfigError: settings cannot be used, or do not fit the data.
        DatasetError: a data set cannot be used.
    """
    validation = ValidationSettings.from_config(cfg)
    description = find_description(find_last_checkpoint(cfg.OUTPUT_DIR))
    classes = description.class_names() if description else {}
    with_tests = tests or cfg.SOLVER.TEST_PERIOD > 0
    datasets = make_datasets(cfg, test=with_tests, classes=classes, read=read)
    if tests:
        make_evaluation_checks(cfg, run, datasets)
    check_photos([*datasets.train, *datasets.test])
    if is_main_process():
        _note_division(datasets, Path(cfg.OUTPUT_DIR) / DIVISION)
    model = build_trained_model(cfg, run, datasets)
    if not tests:
        return {}
    results = make_evaluations(cfg, model, run, datasets.test)
    if datasets.test:
        path = validation.result_path(Path(cfg.OUTPUT_DIR))
        note_threshold(path, results[cfg.DATASETS.TEST[0]])
    return results


def make_test(
    cfg: CfgNode, run: Run, weights: str | None = None
) -> dict[str, EvaluationResult | None]:
    """The scores of a trained model on DATASETS.TEST.

    Args:
        cfg: settings.
        run: whose every process must call this.
        weights: as in ``build_pretrained_model``.

    Raises:
        CheckpointError: the weights are absent, damaged, or do not fit.
        ConfigError: settings cannot be used, or do not fit the data.
        DatasetError: a data set cannot be used.
    """
    model = build_pretrained_model(cfg, run.device, weights)
    description = make_model_description(cfg, weights)
    classes = description.class_names() if description else {}
    datasets = make_datasets(cfg, train=False, classes=classes)
    check_photos(datasets.test)
    return make_evaluations(cfg, model, run, datasets.test)


def build_trained_model(cfg: CfgNode, run: Run, datasets: Datasets) -> nn.Module:
    """The model of ``cfg`` after its training, which goes on from OUTPUT_DIR's last checkpoint.

    Without one it starts from ``MODEL.WEIGHT``. Where SOLVER.TEST_PERIOD says so, it is evaluated
    on the first test set on the way; with SOLVER.KEEP_BEST it is what was best then. Every process
    of ``run`` must call this.
    """
    if is_main_process():
        _tidy_output_dir(Path(cfg.OUTPUT_DIR), cfg.dump())
    model = make_training_runner(cfg, build_detection_model(cfg), run.device).model
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(
        cfg,
        model,
        optimizer,
        scheduler,
        cfg.OUTPUT_DIR,
        save_to_disk=is_main_process(),
        categories=_categories(datasets.train[0]),
    )
    entries: dict[str, Any] = {"iteration": 0, **checkpointer.load(cfg.MODEL.WEIGHT)}
    fit_to_data(model, datasets.train, seed=cfg.SEED)
    distributed = run.place.is_distributed
    data_loader = make_train_loader(cfg, datasets.train, distributed, entries["iteration"])
    data_loader_val = None
    if cfg.SOLVER.TEST_PERIOD > 0 and datasets.test:
        data_loader_val = make_test_loader(cfg, datasets.test[0], distributed)
    model_in_training = distribute(model, run, convert_batch_norm=cfg.MODEL.USE_SYNCBN)
    # Processes made the same model; from here on they draw different numbers.
    seed_everything(cfg.SEED + run.place.rank)
    do_train(
        cfg,
        model_in_training,
        data_loader,
        data_loader_val,
        optimizer,
        scheduler,
        checkpointer,
        run.device,
        checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
        test_period=cfg.SOLVER.TEST_PERIOD,
        arguments=entries,
    )
    best = ValidationSettings.from_config(cfg).best_path(Path(cfg.OUTPUT_DIR))
    if best is not None:
        checkpointer.load(best, use_latest=False, strict=True)
    return model


def note_threshold(path: Path, result: EvaluationResult | None) -> None:
    """Note in a checkpoint from which score on what it finds is worth showing.

    ``result`` is that of its model on photos to validate with; None, as processes have it that are
    not the first, changes nothing.
    """
    if result is None or result.score_threshold is None:
        return
    store_score_threshold(path, result.score_threshold)
    logger.info(
        "F1 on %s is best from score %.3f on, which is noted in %s",
        *(result.dataset, result.score_threshold, path),
    )


def _note_division(datasets: Datasets, path: Path) -> None:
    """Write down which photos are trained and tested on, if data were divided for that."""
    parts = {
        dataset.division_part: [
            str(dataset.get_img_info(index).get("file_name")) for index in range(len(dataset))
        ]
        for dataset in (*datasets.train, *datasets.test)
        if dataset.division_part
    }
    if parts:
        write_json(path, parts, indent=1)
        logger.info("which photos are in which part is written to %s", path)


def _categories(dataset: DetectionDataset) -> list[Category]:
    ids = dataset.contiguous_category_id_to_json_id
    return [Category(int(ids[label]), name) for label, name in sorted(dataset.categories.items())]


def _tidy_output_dir(folder: Path, settings: str) -> None:
    """Remove what killed runs left half written, and note the settings of this one."""
    for path in remove_unfinished(folder):
        logger.info("removed %s, which a killed run had not finished", path)
    with atomic_write(folder / "config.yml", "w") as file:
        file.write(settings)


def distribute(model: nn.Module, run: Run, *, convert_batch_norm: bool = False) -> nn.Module:
    """``model``, wrapped so that its gradients are means over the processes if there are several.

    Every parameter that is trained must get a gradient in every step. ``convert_batch_norm`` lets
    batch norms share their statistics, on CUDA alone.
    """
    if not run.place.is_distributed:
        return model
    on_cuda = run.device.type == "cuda"
    if convert_batch_norm and on_cuda:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    options: dict[str, Any] = {_buffers_option(): False}
    return DistributedDataParallel(model, device_ids=[run.device] if on_cuda else None, **options)


def _buffers_option() -> str:
    """Name of the argument that keeps buffers from being sent around.

    They never change here, but for statistics of norms, which the first process saves.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    # PyTorch 2.14 renamed it and warns of the old name.
    return "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"


def make_evaluation_checks(cfg: CfgNode, run: Run, datasets: Datasets) -> None:
    """Raise before the training what ``make_evaluations`` would raise after it.

    Raises:
        ConfigError: a setting under TEST cannot be used.
        DatasetError: a data set does not tell what is to be found.
    """
    check_backend(cfg.TEST.COCO_BACKEND)
    make_expectations(cfg)
    spec = ArchitectureSpec.from_config(cfg)
    for dataset in datasets.test:
        make_test_loader(cfg, dataset, run.place.is_distributed)
        dataset.make_evaluator(
            spec.iou_types, box_only=spec.box_only, backend=cfg.TEST.COCO_BACKEND
        )


def make_evaluations(
    cfg: CfgNode, model: nn.Module, run: Run, datasets: Sequence[DetectionDataset]
) -> dict[str, EvaluationResult | None]:
    """The scores of ``model`` on each data set of ``DATASETS.TEST``; None but on rank 0.

    Every process of ``run`` must call this. Results go to ``OUTPUT_DIR/inference/<data set>``.
    """
    if not datasets:
        logger.warning("DATASETS.TEST is empty: nothing to evaluate")
        return {}
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    expectations = make_expectations(cfg)
    runner = ModelRunner.from_config(cfg, model, run.device)
    results: dict[str, EvaluationResult | None] = {}
    for name, dataset in zip(cfg.DATASETS.TEST, datasets, strict=True):
        data_loader = make_test_loader(cfg, dataset, run.place.is_distributed)
        evaluate = make_evaluation(cfg, runner, name, data_loader)
        expected = expectations.get(name, Expectations())
        results[name] = evaluate(
            expected_results=expected.entries,
            expected_results_sigma_tol=expected.sigma_tol,
        )
        synchronize()
    return results


def make_expectations(cfg: CfgNode) -> dict[str, Expectations]:
    """What each data set of ``DATASETS.TEST`` is expected to score; only those that have some.

    Raises:
        ConfigError: an entry of TEST.EXPECTED_RESULTS is malformed.
    """
    entries, about = cfg.TEST.EXPECTED_RESULTS, cfg.TEST.EXPECTED_RESULTS_DATASETS
    check_entries(entries)
    expectations = Expectations(tuple(entries), cfg.TEST.EXPECTED_RESULTS_SIGMA_TOL)
    names = [name for name in cfg.DATASETS.TEST if not about or name in about]
    return dict.fromkeys(names, expectations) if entries else {}


def make_expectation_checks(cfg: CfgNode) -> None:
    """Raise unless some data set of ``DATASETS.TEST`` has expected results.

    Raises:
        ConfigError: the evaluation would have nothing to be compared with.
    """
    if not make_expectations(cfg):
        raise ConfigError(
            f"nothing to compare with: TEST.EXPECTED_RESULTS has {len(cfg.TEST.EXPECTED_RESULTS)} "
            f"entries, TEST.EXPECTED_RESULTS_DATASETS is {cfg.TEST.EXPECTED_RESULTS_DATASETS!r}, "
            f"DATASETS.TEST is {cfg.DATASETS.TEST!r}"
        )
