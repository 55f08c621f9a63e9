"""Outlines of some objects of a data set."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.structures.tight_outlines import Outline, tight_outlines


def draw_outlines(
    datasets: Sequence[DetectionDataset], *, most_of_class: int, seed: int
) -> Iterator[Outline]:
    """Outlines of training targets, up to so many of each class, from photos in random order.

    Args:
        datasets: with masks.
        most_of_class: objects of a class.
        seed: of the order.

    Raises:
        DatasetError: a data set cannot give targets without their photos.
    """
    places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    random.Random(seed).shuffle(places)
    counts: Counter[int] = Counter()
    labels = {label for dataset in datasets for label in dataset.categories}
    for dataset, index in places:
        if all(counts[label] >= most_of_class for label in labels):
            return
        target = dataset.get_target(index)
        if len(target) == 0:
            continue
        # Others would be drawn for nothing.
        is_wanted = [counts[label] < most_of_class for label in target.labels.tolist()]
        for outline in tight_outlines(target[torch.tensor(is_wanted)]):
            counts[outline.label] += 1
            if counts[outline.label] <= most_of_class:
                yield outline
