"""Looking through a data set before training on it.

``python -m maskrcnn_benchmark.data.check --ann-file FILE --root FOLDER`` reads every image and
tells what there is and what is wrong; ``--name NAME`` looks through any data set of the catalog.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.datasets import COCODataset, DetectionDataset
from maskrcnn_benchmark.data.entries import load_dataset
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.inspection.findings import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    Place,
    by_severity,
)
from maskrcnn_benchmark.data.inspection.objects import Objects, find_in_objects
from maskrcnn_benchmark.data.inspection.photos import (
    PhotoLook,
    find_in_photos,
    look_at_photos,
    photo_name,
)

logger = logging.getLogger(__name__)

_OK: Final = 0
_SOMETHING_WRONG: Final = 1


class DatasetReport(NamedTuple):
    """What a look through a data set found.

    Attributes:
        num_images: images of the data set, unreadable ones too.
        num_without_targets: images that have nothing to train on.
        instances: category name -> training targets.
        unreadable: what is wrong with each image that cannot be read.
        num_damaged: annotations that make no sense and are left out.
        findings: what else is wrong, likely to be a mistake, or good to know, the worst first.
    """

    num_images: int
    num_without_targets: int
    instances: dict[str, int]
    unreadable: list[str]
    num_damaged: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def is_fine(self) -> bool:
        """Whether every image and annotation can be used."""
        has_error = any(finding.severity == ERROR for finding in self.findings)
        return not (self.unreadable or self.num_damaged or has_error)

    def __str__(self) -> str:
        num_targets, num_categories = sum(self.instances.values()), len(self.instances)
        lines = [
            f"{self.num_images} images, {self.num_without_targets} of them without targets",
            f"{num_targets} training targets in {num_categories} categories:",
            *(f"  {name}: {count}" for name, count in self.instances.items()),
            f"MODEL.NUM_CLASSES for this data set: {num_categories + 1}",
            f"{len(self.unreadable)} images cannot be used",
            *(f"  {message}" for message in self.unreadable),
        ]
        return "\n".join(lines)


def check_dataset(dataset: DetectionDataset, look: PhotoLook | None = None) -> DatasetReport:
    """What there is in a data set and what is wrong with it.

    Args:
        dataset: all of it is read.
        look: at its photos; None looks.
    """
    look = look_at_photos(dataset) if look is None else look
    labels: Counter[int] = Counter()
    empty = []
    for index in range(len(dataset)):
        target_labels = dataset.get_target(index).labels.tolist()
        labels.update(target_labels)
        if not target_labels:
            empty.append(index)
    findings = [
        *find_in_objects(Objects(dataset)),
        *find_in_photos(dataset, look),
        *_find_in_targets(dataset, empty),
    ]
    return DatasetReport(
        num_images=len(dataset),
        num_without_targets=len(empty),
        instances=_by_name(dataset, labels),
        unreadable=list(look.unreadable.values()),
        num_damaged=dataset.num_damaged,
        findings=tuple(by_severity(findings)),
    )


def _find_in_targets(dataset: DetectionDataset, empty: Sequence[int]) -> list[Finding]:
    """What keeps a training, or a model with masks, from the data."""
    places = tuple(Place(photo_name(dataset, index), index) for index in empty)
    nothing = (Place(dataset.name),) if len(empty) == len(dataset) else ()
    boxes = () if dataset.has_masks else (Place(dataset.name),)
    return [
        Finding(ERROR, "data sets without anything to train on", nothing),
        Finding(
            NOTE,
            "photos without anything to train on, which are left out of training",
            places,
            "DATALOADER.FILTER_EMPTY_ANNOTATIONS False trains on those without any annotation",
        ),
        Finding(
            WARNING,
            "data sets with boxes but no outlines, on which no model of masks can be trained",
            boxes,
            "choose a model of boxes, such as faster-rcnn-r50 or retinanet-r50",
        ),
    ]


def _by_name(dataset: DetectionDataset, labels: Mapping[int, int]) -> dict[str, int]:
    """Training targets by the class's name, with its id where several have that name."""
    ids, names = dataset.contiguous_category_id_to_json_id, Counter(dataset.categories.values())
    return {
        name if names[name] == 1 else f"{name} (id {ids[label]})": labels[label]
        for label, name in dataset.categories.items()
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Look through a data set.")
    parser.add_argument("--ann-file", help="annotations in COCO's format, a JSON file")
    parser.add_argument("--root", help="folder of the images")
    parser.add_argument("--name", help="look through this data set of the catalog instead")
    parser.add_argument(
        "--catalog",
        default=get_default_config().PATHS_CATALOG,
        help="file of the catalog, as PATHS_CATALOG in the settings",
    )
    options = parser.parse_args(arguments)
    if not options.name and not (options.ann_file and options.root):
        parser.error("give --ann-file and --root, or --name")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 if every image and annotation can be used, else 1."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        if options.name:
            dataset = load_dataset(options.name, options.catalog)
        else:
            dataset = COCODataset(options.ann_file, options.root, False)
    except (ConfigError, DatasetError) as error:
        logger.error("%s", error)
        return _SOMETHING_WRONG
    report = check_dataset(dataset)
    for finding in report.findings:
        logger.info("%s", finding)
    logger.info("%s", report)
    return _OK if report.is_fine else _SOMETHING_WRONG


if __name__ == "__main__":
    sys.exit(main())
