"""Parts of a model that are made of the objects to train on, before the training starts."""

import logging
from collections.abc import Sequence
from typing import Final

from torch import nn

from maskrcnn_benchmark.data.datasets import DetectionDataset
from maskrcnn_benchmark.data.outline_sample import draw_outlines
from maskrcnn_benchmark.modeling.data_fit import MadeOfOutlines

logger = logging.getLogger(__name__)

MOST_OF_CLASS: Final = 1000
"""Objects of a class whose outlines are looked at."""


def fit_to_data(model: nn.Module, datasets: Sequence[DetectionDataset], *, seed: int) -> None:
    """Fill the buffers of ``MadeOfOutlines`` that weights have left empty; what was made is logged.

    Every process makes the same.
    """
    for name, part in model.named_modules():
        if isinstance(part, MadeOfOutlines) and part.unmade_labels:
            logger.info("%s: looking at the outlines to train on ...", name)
            outlines = draw_outlines(datasets, most_of_class=MOST_OF_CLASS, seed=seed)
            made = part.make_from(outlines, seed=seed)
            logger.info("%s: made %s; checkpoints carry them", name, made)
