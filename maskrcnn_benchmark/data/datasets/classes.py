"""Classes of data sets and models compared by their names, whatever their numbers."""

import difflib
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.errors import DatasetError

logger = logging.getLogger(__name__)

Classes: TypeAlias = Mapping[int, str]
"""Label (from 1) -> name."""


def matched_labels(own: Classes, names: Classes) -> dict[int, int]:
    """Label in ``own`` -> label of the same name in ``names``; without those that have none.

    Of a name that occurs twice, the first belongs to the first and the second to the second.
    """
    places = {key: label for label, key in _keys(names)}
    return {label: places[key] for label, key in _keys(own) if key in places}


def joined_classes(several: Iterable[Classes]) -> dict[int, str]:
    """The classes of several data sets together: those of the first, then what others have more."""
    joined: dict[int, str] = {}
    for classes in several:
        known = matched_labels(classes, joined)
        for label, name in classes.items():
            if label not in known:
                joined[len(joined) + 1] = name
    return joined


def unknown_names(own: Classes, names: Classes) -> list[str]:
    """The names in ``own`` that are not in ``names``, each with one it may be meant for."""
    known = matched_labels(own, names)
    by_small = {name.casefold(): name for name in names.values()}
    told = []
    for label, name in own.items():
        if label not in known:
            near = difflib.get_close_matches(name.casefold(), by_small, n=1)
            told.append(f"{name!r}" + (f" ({by_small[near[0]]!r}?)" if near else ""))
    return told


def with_classes_of_model(
    made: Mapping[tuple[str, bool], DetectionDataset],
    num_classes: int,
    classes: Mapping[int, str],
) -> dict[tuple[str, bool], DetectionDataset]:
    """The same data sets with the model's labels, as far as the names of classes are known.

    Args:
        made: by name, and whether it is to be trained on.
        num_classes: of the model, background included.
        classes: of a model that is there already; those of the data to train on if there are none.

    Raises:
        DatasetError: classes differ so that the data cannot be used.
    """
    named = {one: dataset for one, dataset in made.items() if dataset.has_class_names}
    ours = [dataset for (_, is_train), dataset in named.items() if is_train]
    names = dict(classes) or joined_classes(dataset.categories for dataset in ours)
    if not names:
        return dict(made)
    for dataset in ours:
        _tell_differences(dataset, names, is_going_on=bool(classes))
    # A model may have more classes than the data have, and find them, too.
    more = {label: f"class {label}" for label in range(len(names) + 1, num_classes)}
    return {
        one: dataset.with_classes(names if one[1] else names | more) if one in named else dataset
        for one, dataset in made.items()
    }


def _tell_differences(
    dataset: DetectionDataset, names: Mapping[int, str], *, is_going_on: bool
) -> None:
    """Log which classes a data set to train on lacks.

    Raises:
        DatasetError: it has classes that the model of a training that goes on does not have.
    """
    known = matched_labels(dataset.categories, names)
    if is_going_on and len(known) < len(dataset.categories):
        raise DatasetError(
            f"the data set {dataset.name} has the classes "
            f"{', '.join(unknown_names(dataset.categories, names))} besides those of the run in "
            "OUTPUT_DIR; to train a model of these classes, choose another OUTPUT_DIR"
        )
    lacking = [name for label, name in names.items() if label not in known.values()]
    if lacking:
        logger.warning(
            "the data set %s has no class %s: where its photos show it, it counts as background",
            dataset.name,
            ", ".join(lacking),
        )


def _keys(classes: Classes) -> list[tuple[int, tuple[str, int]]]:
    """Label and (name, how often it occurred before) of each class, in the order of labels."""
    seen: Counter[str] = Counter()
    keys = []
    for label in sorted(classes):
        # Tools differ in how they write one and the same accented letter.
        name = unicodedata.normalize("NFC", classes[label]).strip()
        keys.append((label, (name, seen[name])))
        seen[name] += 1
    return keys
