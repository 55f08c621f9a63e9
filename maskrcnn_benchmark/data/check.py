"""Looking through a data set before training on it.

``python -m maskrcnn_benchmark.data.check --ann-file FILE --root FOLDER`` reads every image and
tells what there is and what is wrong; ``--name NAME`` looks through any data set of the catalog.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.datasets import COCODataset, DetectionDataset
from maskrcnn_benchmark.data.entries import load_dataset
from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.data.sources import find_parts

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
    """

    num_images: int
    num_without_targets: int
    instances: dict[str, int]
    unreadable: list[str]
    num_damaged: int = 0

    @property
    def is_fine(self) -> bool:
        """Whether every image and annotation can be used."""
        return not self.unreadable and not self.num_damaged

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


def check_dataset(dataset: DetectionDataset) -> DatasetReport:
    """What there is in a data set and which of its images cannot be used; reads all of them."""
    labels: Counter[int] = Counter()
    num_without_targets = 0
    unreadable = []
    for index in range(len(dataset)):
        target_labels = dataset.get_target(index).labels.tolist()
        labels.update(target_labels)
        num_without_targets += not target_labels
        try:
            dataset[index]
        except ImageReadError as error:
            unreadable.append(str(error))
    instances = {name: labels[label] for label, name in dataset.categories.items()}
    return DatasetReport(
        len(dataset), num_without_targets, instances, unreadable, dataset.num_damaged
    )


def check_source(name: str, format_name: str = "") -> dict[str, DatasetReport]:
    """What there is in each part of annotated photos; reads all of them.

    Args:
        name: a path, as in DATASETS.TRAIN: "my_photos", "labels.json@photos", "my_photos#val".
        format_name: a name in ``data.formats.FORMATS``; "" looks.

    Raises:
        DatasetError: there is no such path, or the data are of no known format.
    """
    return {
        split: check_dataset(
            COCODataset.from_content(
                part.reader(part.annotations, part.images), part.images, name=f"{name}#{split}"
            )
        )
        for split, part in find_parts(name, format_name).items()
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
    logger.info("%s", report)
    return _OK if report.is_fine else _SOMETHING_WRONG


if __name__ == "__main__":
    sys.exit(main())
