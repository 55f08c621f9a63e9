"""All parts of annotated photos, looked through one by one and against each other."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from maskrcnn_benchmark.data.check import DatasetReport, check_dataset
from maskrcnn_benchmark.data.datasets.classes import matched_labels, unknown_names
from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.formats import TRAIN, VAL, WHOLE, Part
from maskrcnn_benchmark.data.formats.coco import COCO
from maskrcnn_benchmark.data.formats.format import photos_below, relative_name
from maskrcnn_benchmark.data.image_io import has_uncertain_turn, lacks_end
from maskrcnn_benchmark.data.inspection.findings import (
    ERROR,
    MENDED,
    NOTE,
    WARNING,
    Finding,
    Place,
    by_severity,
)
from maskrcnn_benchmark.data.inspection.ids import mend_ids
from maskrcnn_benchmark.data.inspection.photos import (
    PhotoLook,
    find_across,
    look_at_photos,
    photo_name,
)
from maskrcnn_benchmark.data.inspection.sizes import mend_sizes
from maskrcnn_benchmark.data.sources import find_pair, find_parts


class PartInspection(NamedTuple):
    """What was found in one part.

    Attributes:
        dataset: the part, without what could not be used at all.
        root: folder of its photos.
        report: counts and findings.
        look: at its photos.
    """

    dataset: COCODataset
    root: Path
    report: DatasetReport
    look: PhotoLook


def inspect_source(name: str, format_name: str = "", val: str = "") -> dict[str, PartInspection]:
    """What there is in each part of annotated photos and what is wrong; reads all of them.

    Args:
        name: a path, as in DATASETS.TRAIN: "my_photos", "labels.json@photos", "my_photos#val".
        format_name: a name in ``data.formats.FORMATS``; "" looks.
        val: as in DATASETS.TEST, if that is another path; then there are these two parts.

    Raises:
        DatasetError: there is no such path, or the data are of no known format, or have no such
            part, or cannot be read.
    """
    parts = find_pair(name, val, format_name) if val else find_parts(name, format_name)
    names = {split: val if val and split == VAL else f"{name}#{split}" for split in parts}
    found = {split: _inspect_part(part, names[split]) for split, part in parts.items()}
    datasets = {split: one.dataset for split, one in found.items()}
    unnamed = _find_unnamed(datasets)
    numbered = {split: datasets[split] for split, one in parts.items() if one.reader is COCO.read}
    across = find_across({split: one.look for split, one in found.items()}, datasets)
    for split, one in found.items():
        more = [
            across[split],
            *_find_in_parts(split, datasets),
            _find_renumbered(split, numbered),
            unnamed[split],
        ]
        report = one.report
        findings = tuple(by_severity([*report.findings, *more]))
        found[split] = one._replace(report=report._replace(findings=findings))
    return found


def _inspect_part(part: Part, name: str) -> PartInspection:
    content, misfits = mend_ids(_as_lists(part.reader(part.annotations, part.images)))
    content, wrong_sizes = mend_sizes(content, part.images)
    dataset = COCODataset.from_content(content, part.images, name=name)
    look = look_at_photos(dataset)
    report = check_dataset(dataset, look)
    damaged = [
        Finding(
            ERROR,
            f"annotations {why}",
            tuple(Place(f"annotation {i}") for i in ids),
            dataset.skipped.detail(why),
            MENDED,
        )
        for why, ids in dataset.skipped.ids.items()
    ]
    findings = by_severity(
        [*misfits, *wrong_sizes, *damaged, *report.findings, *_find_in_files(dataset, look)]
    )
    return PartInspection(dataset, part.images, report._replace(findings=tuple(findings)), look)


def _find_in_files(dataset: COCODataset, look: PhotoLook) -> list[Finding]:
    """What is strange about files whose photos can be read."""
    names = {index: photo_name(dataset, index) for index in look.signatures}

    def chosen(is_so: Callable[[Path], bool]) -> tuple[Place, ...]:
        found = (i for i, name in names.items() if is_so(Path(dataset.root) / name))
        return tuple(Place(names[index], index) for index in found)

    return [
        Finding(WARNING, "photos that lack their last bytes", chosen(lacks_end)),
        Finding(
            NOTE,
            "photos with a note (EXIF) how to turn them, whose size does not tell whether "
            "annotations follow it",
            chosen(has_uncertain_turn),
            "they are turned, as most tools show them",
        ),
    ]


def _as_lists(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content whose sections are lists of Python objects."""
    return {key: list(value) if hasattr(value, "rows") else value for key, value in content.items()}


def _find_unnamed(datasets: Mapping[str, COCODataset]) -> dict[str, Finding]:
    """Photos that lie among others and are in no part, told of the first part of their folder."""
    seen = {
        os.path.realpath(os.path.join(dataset.root, dataset.get_img_info(index)["file_name"]))
        for dataset in datasets.values()
        for index in range(len(dataset))
    }
    found = {}
    for split, dataset in datasets.items():
        others = [p for p in photos_below(Path(dataset.root)) if os.path.realpath(p) not in seen]
        seen.update(os.path.realpath(path) for path in others)
        places = tuple(Place(relative_name(path, Path(dataset.root))) for path in others)
        found[split] = Finding(NOTE, "photos that no annotation file names", places)
    return found


def _find_in_parts(split: str, datasets: Mapping[str, COCODataset]) -> list[Finding]:
    """What a part lacks beside the one that is trained on."""
    dataset = datasets[split]
    train = datasets.get(TRAIN, datasets.get(WHOLE))
    if train is None:
        return []
    if dataset is train:
        is_alone = VAL not in datasets and len(dataset) < 2
        return [
            Finding(
                ERROR,
                "data sets of one photo, none of which can be kept for validation",
                (Place(dataset.name),) if is_alone else (),
            )
        ]
    unknown = unknown_names(dataset.categories, train.categories)
    known = matched_labels(dataset.categories, train.categories).values()
    lacking = [name for label, name in train.categories.items() if label not in known]
    is_empty = not dataset.ground_truth()["annotations"]
    return [
        Finding(
            ERROR,
            "classes that the training part does not have",
            tuple(map(Place, unknown)),
            "they are not evaluated",
        ),
        Finding(NOTE, "classes that this part does not have", tuple(map(Place, lacking))),
        Finding(
            WARNING,
            "parts without annotations, which cannot be evaluated on",
            (Place(dataset.name),) if is_empty else (),
        ),
    ]


def _find_renumbered(split: str, numbered: Mapping[str, COCODataset]) -> Finding:
    """Numbers of classes that mean another one in the part that is trained on.

    ``numbered`` are the parts whose numbers are those of a file.
    """
    dataset, train = numbered.get(split), numbered.get(TRAIN, numbered.get(WHOLE))
    mine, theirs = (_names_by_id(one) if one else {} for one in (dataset, train))
    places = tuple(
        Place(f"{number} is {name!r}, there {theirs[number]!r}")
        for number, name in sorted(mine.items())
        if theirs.get(number, name) != name
    )
    return Finding(
        WARNING,
        "numbers that are of another class in the training part",
        places,
        "here classes are told by their names, other programs tell them by their numbers",
    )


def _names_by_id(dataset: COCODataset) -> dict[int, str]:
    ids = dataset.contiguous_category_id_to_json_id
    return {ids[label]: name for label, name in dataset.categories.items()}
