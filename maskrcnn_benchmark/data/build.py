"""From settings to batches."""

import logging
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cv2
import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.spec import options_without_masks
from maskrcnn_benchmark.data.collate_batch import BatchCollator
from maskrcnn_benchmark.data.datasets.classes import joined_classes, with_classes_of_model
from maskrcnn_benchmark.data.datasets.concat_dataset import ConcatDataset
from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.datasets.readers import ContentReader
from maskrcnn_benchmark.data.datasets.seeded_dataset import SeededDataset
from maskrcnn_benchmark.data.entries import make_dataset, make_entry
from maskrcnn_benchmark.data.samplers import (
    DistributedSampler,
    GroupedBatchSampler,
    IterationBasedBatchSampler,
    KeyedBatchSampler,
    mix_seed,
)
from maskrcnn_benchmark.data.transforms import (
    build_pixel_normalizer,
    build_pixel_transforms,
    build_training_transforms,
    make_needed_side,
    make_needs_bitmaps,
    make_size_divisor,
)
from maskrcnn_benchmark.utils.catalogs import catalog_class, import_catalog
from maskrcnn_benchmark.utils.comm import get_rank, get_world_size

logger = logging.getLogger(__name__)

_ASPECT_RATIO_BINS: Final = (1.0,)
"""Bounds of height / width between groups: landscape, and portrait or square."""


class Datasets(NamedTuple):
    """The data sets of a run, made once and used by all of its parts.

    Attributes:
        train: those of DATASETS.TRAIN, without transforms: a ``SeededDataset`` applies them.
        test: those of DATASETS.TEST, with transforms.
    """

    train: tuple[DetectionDataset, ...] = ()
    test: tuple[DetectionDataset, ...] = ()


def make_datasets(
    cfg: CfgNode,
    *,
    train: bool = True,
    test: bool = True,
    classes: Mapping[int, str] = MappingProxyType({}),
    read: ContentReader | None = None,
) -> Datasets:
    """The data sets that DATASETS names, which fit the model; each annotation file is read once.

    Classes are told by their names: those of the model are ``classes``, else those of the data sets
    to train on in the order in which they come.

    Args:
        cfg: settings; DATASETS, INPUT, PATHS_CATALOG and the architecture are read.
        train: make those to train on.
        test: make those to test on.
        classes: label -> name in a model that is there already; nothing if it is not, or does not
            say.
        read: has perhaps read the annotations already, and forgets them here.

    Raises:
        ConfigError: a setting that cannot be used, e.g. a class count that does not fit.
        DatasetError: a data set that cannot be used.
    """
    if train and not cfg.DATASETS.TRAIN:
        raise ConfigError("DATASETS.TRAIN must name at least one data set, but is empty")
    spec = ArchitectureSpec.from_config(cfg)
    wanted = [(name, True) for name in cfg.DATASETS.TRAIN if train]
    wanted += [(name, False) for name in cfg.DATASETS.TEST if test]
    convention = Convention.from_config(cfg)
    own_offset = spec.pixel_offset
    pixel_offset = convention.pixel_offset if own_offset is None else own_offset
    read = ContentReader() if read is None else read
    made = _make_each(cfg, spec, wanted, pixel_offset, read)
    read.forget()
    if not spec.box_only:
        made = with_classes_of_model(made, spec.num_classes, classes)
    for (_, is_train), dataset in made.items():
        _check_fit(spec, dataset, is_train, options_without_masks(cfg))
        dataset.needed_side = make_needed_side(cfg, is_train)
        dataset.pixel_offset = pixel_offset
        dataset.keypoint_offset = convention.keypoint_offset
        dataset.gives_crowds = is_train and spec.learns_crowds
        dataset.gives_bitmaps = is_train and make_needs_bitmaps(cfg)
    return Datasets(
        train=tuple(made[name, True] for name in cfg.DATASETS.TRAIN if train),
        test=tuple(made[name, False] for name in cfg.DATASETS.TEST if test),
    )


def _make_each(
    cfg: CfgNode,
    spec: ArchitectureSpec,
    wanted: Sequence[tuple[str, bool]],
    pixel_offset: int,
    read: ContentReader,
) -> dict[tuple[str, bool], DetectionDataset]:
    """The data sets by name, and whether they are to be trained on, as their annotations are."""
    catalog = catalog_class(import_catalog(cfg.PATHS_CATALOG), "DatasetCatalog")
    transforms = build_pixel_transforms(cfg, is_train=False)
    entries = {one: make_entry(cfg, catalog, *one) for one in wanted}
    keep_unannotated = not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    made: dict[tuple[str, bool], DetectionDataset] = {}

    def source(one: tuple[str, bool]) -> str:
        arguments = entries[one]["args"]
        return str(arguments.get("ann_file", arguments))

    # Those of one source come one after the other: the content of one is kept at a time.
    for name, is_train in sorted(wanted, key=source):
        own = None if is_train else transforms
        entry = entries[name, is_train]
        made[name, is_train] = make_dataset(
            name, entry, is_train, own, spec, read, pixel_offset, keep_unannotated
        )
    return made


def make_training_data(cfg: CfgNode, read: ContentReader) -> DetectionDataset:
    """The data sets of DATASETS.TRAIN as one, whatever model they are for, without transforms.

    ``read`` remembers the annotations for ``make_datasets``.

    Raises:
        ConfigError: there is none, or no such name.
        DatasetError: a data set cannot be used.
    """
    if not cfg.DATASETS.TRAIN:
        raise ConfigError("DATASETS.TRAIN must name at least one data set, but is empty")
    catalog = catalog_class(import_catalog(cfg.PATHS_CATALOG), "DatasetCatalog")
    names = cfg.DATASETS.TRAIN
    keep = not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    made = [
        make_dataset(
            name, make_entry(cfg, catalog, name, True), True, read=read, keep_unannotated=keep
        )
        for name in names
    ]
    if len(made) == 1:
        return made[0]
    joined = joined_classes(dataset.categories for dataset in made)
    return ConcatDataset([dataset.with_classes(joined) for dataset in made])


def make_data_loader(
    cfg: CfgNode,
    is_train: bool = True,
    is_distributed: bool = False,
    start_iter: int = 0,
    is_for_period: bool = False,
) -> Any:  # noqa: ANN401 - one loader or a list of them, by the arguments; kept for users' scripts
    """The loader of training batches, or a list of loaders, one for each data set to evaluate on.

    This is the door for scripts, which makes data sets anew at each call; see ``make_datasets``,
    ``make_train_loader`` and ``make_test_loader``.

    Args:
        cfg: settings; DATASETS, DATALOADER, INPUT, SEED and IMS_PER_BATCH are read.
        is_train: whether for training.
        is_distributed: divide the data among the processes of ``torch.distributed``.
        start_iter: iterations done before; training only.
        is_for_period: with ``is_train`` False, return *one* loader, the one of the first data set
            of DATASETS.TEST with all of its images: for evaluations during training.

    Raises:
        ConfigError: a setting that cannot be used, e.g. a class count that does not fit.
        DatasetError: a data set that cannot be used.
    """
    datasets = make_datasets(cfg, train=is_train, test=not is_train)
    if is_train:
        return make_train_loader(cfg, datasets.train, is_distributed, start_iter)
    if not is_for_period:
        return [make_test_loader(cfg, dataset, is_distributed) for dataset in datasets.test]
    if not datasets.test:
        raise ConfigError("DATASETS.TEST must name at least one data set, but is empty")
    # UPSTREAM(period-loader): data/build.py joined all of DATASETS.TEST and left out images without
    # targets, so that the scores were those of no data set in particular.
    return make_test_loader(cfg, datasets.test[0], is_distributed)


def make_train_loader(
    cfg: CfgNode, datasets: Sequence[DetectionDataset], is_distributed: bool, start_iter: int = 0
) -> DataLoader[Any]:
    """The loader of the SOLVER.MAX_ITER - ``start_iter`` training batches that are left.

    They are those of an uninterrupted run from there on. Each ``Batch`` holds this process' share
    of SOLVER.IMS_PER_BATCH.

    Args:
        cfg: settings; DATALOADER, INPUT, SEED and SOLVER are read.
        datasets: one or more, without transforms; they are used as one.
        is_distributed: divide the data among the processes of ``torch.distributed``.
        start_iter: iterations done before.

    Raises:
        ConfigError: a setting that cannot be used.
    """
    whole = datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)
    num_replicas, rank = _place(is_distributed)
    transforms = build_training_transforms(cfg)
    seeded = SeededDataset(
        whole,
        transforms.of_photo,
        seed=cfg.SEED,
        rank=rank,
        batch_transforms=transforms.of_batch,
    )
    sampler = DistributedSampler(seeded, num_replicas, rank, shuffle=True, seed=cfg.SEED)
    batches = _make_batches(cfg, sampler, whole, "SOLVER", num_replicas)
    iterations = IterationBasedBatchSampler(batches, cfg.SOLVER.MAX_ITER, start_iter)
    return _make_loader(cfg, seeded, KeyedBatchSampler(iterations, start_iter))


def make_test_loader(
    cfg: CfgNode, dataset: DetectionDataset, is_distributed: bool
) -> DataLoader[Any]:
    """The loader of all images of a data set in batches, this process' share of them.

    Args:
        cfg: settings; DATALOADER and TEST are read.
        dataset: with transforms.
        is_distributed: divide the data among the processes of ``torch.distributed``.

    Raises:
        ConfigError: a setting that cannot be used.
    """
    num_replicas, rank = _place(is_distributed)
    sampler = DistributedSampler(dataset, num_replicas, rank, shuffle=False, pad=False)
    return _make_loader(cfg, dataset, _make_batches(cfg, sampler, dataset, "TEST", num_replicas))


def check_class_count(dataset: DetectionDataset, num_classes: int) -> None:
    """Raise if a data set has categories that the model has no class for.

    Categories fewer than the model's ``num_classes``, background among them, are logged.

    Raises:
        ConfigError: more categories than foreground classes.
    """
    num_categories, num_foreground = len(dataset.categories), num_classes - 1
    if num_categories > num_foreground:
        raise ConfigError(
            f"the data set {dataset.name} has {num_categories} categories, but the model "
            f"{num_foreground} classes besides background; set MODEL.NUM_CLASSES to "
            f"{num_categories + 1}"
        )
    if num_categories < num_foreground:
        logger.warning(
            "the data set %s has %d categories, but the model %d classes besides background: the "
            "others never occur. Should MODEL.NUM_CLASSES be %d?",
            dataset.name,
            num_categories,
            num_foreground,
            num_categories + 1,
        )


def aspect_ratio_groups(dataset: DetectionDataset) -> list[int]:
    """For each image 0 if it is wider than high, else 1."""
    infos = (dataset.get_img_info(index) for index in range(len(dataset)))
    return [bisect_right(_ASPECT_RATIO_BINS, info["height"] / info["width"]) for info in infos]


def _check_fit(
    spec: ArchitectureSpec,
    dataset: DetectionDataset,
    with_targets: bool,
    without_masks: Sequence[str],
) -> None:
    """Raise if the model cannot be trained or tested on the data set.

    ``without_masks`` are the settings that make the model one of boxes.
    """
    if not spec.box_only:
        check_class_count(dataset, spec.num_classes)
    needed = spec.target_fields if with_targets else {}
    if "masks" in needed and not dataset.has_masks:
        advice = " ".join(without_masks) or "another MODEL.DENSE.FAMILY"
        raise ConfigError(
            f"the data set {dataset.name} has boxes but no outlines, which {needed['masks']} asks "
            f"for; to find boxes alone, set {advice}"
        )
    if "keypoints" in needed and not dataset.has_keypoints:
        raise ConfigError(
            f"the data set {dataset.name} has no keypoints of persons (17 points each), "
            f"which {needed['keypoints']} asks for"
        )


def _place(is_distributed: bool) -> tuple[int, int]:
    """The number of processes that divide the data, and which of them this one is."""
    return (get_world_size(), get_rank()) if is_distributed else (1, 0)


def _make_batches(
    cfg: CfgNode,
    sampler: DistributedSampler,
    dataset: DetectionDataset,
    section: str,
    num_replicas: int,
) -> Sampler[list[int]]:
    """Batches of one process: a share of the section's IMS_PER_BATCH each."""
    images_per_batch = cfg[section].IMS_PER_BATCH
    if section == "TEST" and images_per_batch == 0:
        images_per_batch = num_replicas
    if images_per_batch < 1 or images_per_batch % num_replicas:
        raise ConfigError(
            f"{section}.IMS_PER_BATCH must be a multiple of the number of processes, "
            f"{num_replicas}, not {images_per_batch}"
        )
    share = images_per_batch // num_replicas
    if not cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        return BatchSampler(sampler, share, drop_last=False)
    return GroupedBatchSampler(sampler, aspect_ratio_groups(dataset), share)


def _make_loader(
    cfg: CfgNode, dataset: DetectionDataset | SeededDataset, batches: Sampler[list[Any]]
) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=_useful_workers(cfg.DATALOADER.NUM_WORKERS),
        collate_fn=BatchCollator(make_size_divisor(cfg), build_pixel_normalizer(cfg)),
        worker_init_fn=_start_worker,
        # A GPU copies from pinned memory while it computes.
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available(),
        # Its own generator, so that starting a loader leaves the global one, which is saved with
        # checkpoints, as it was.
        generator=torch.Generator().manual_seed(mix_seed(cfg.SEED)),
    )


def _useful_workers(wanted: int) -> int:
    """As many workers as wanted, but not more than processors: they would wait for one another."""
    if wanted < 0:
        raise ConfigError(f"DATALOADER.NUM_WORKERS must be at least 0, not {wanted}")
    # Not every system tells which processors this process may use.
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    if wanted > available:
        logger.info("%d instead of %d workers: one a processor", available, wanted)
    return min(wanted, available)


def _start_worker(worker_id: int) -> None:  # noqa: ARG001 - DataLoader gives it
    """Keep a worker process to one thread: there is one worker a processor."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
