"""Shape priors: what objects of a class mostly look like (arXiv 1904.03239, section 3.1).

Shapes: N masks, K priors of a class, C classes with background, M side of a prior (32).
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.config.coco_ids import COCO_IDS
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.dense.shapemask.regions import SIDE
from maskrcnn_benchmark.structures.tight_outlines import Outline

_NUM_ROUNDS: Final = 20
# Points of which the one that brings most becomes the next cluster.
_NUM_DRAWN: Final = 5
_KEY: Final = "MODEL.DENSE.SETTINGS.PRIORS_FILE"


def read_priors(path: str, num_classes: int, num_priors: int) -> Tensor:
    """(C, K, M, M) of a ``.npy`` file; for the 80 classes of COCO it may have a row for each id.

    Raises:
        ConfigError: the file is absent or damaged, has another shape, or values outside [0, 1].
    """
    if not Path(path).is_file():
        raise ConfigError(f"{_KEY}: no such file: {path}")
    try:
        array = np.load(path, allow_pickle=False)
        priors = torch.from_numpy(np.asarray(array, dtype=np.float32))
        if num_classes == len(COCO_IDS) + 1 and len(priors) == COCO_IDS[-1] + 1:
            # The authors' file has a row for each number.
            priors = priors[[0, *COCO_IDS]]
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise ConfigError(f"{_KEY}: {path} is no array of numbers ({error})") from error
    expected = (num_classes, num_priors, SIDE, SIDE)
    if tuple(priors.shape) != expected:
        raise ConfigError(
            f"{_KEY}: {path}: expected the shape {expected}: classes with background, "
            f"MODEL.DENSE.SETTINGS.NUM_PRIORS, height, width; got {tuple(priors.shape)}"
        )
    if not bool(((priors >= 0) & (priors <= 1)).all()):
        raise ConfigError(f"{_KEY}: {path}: expected values in [0, 1], got others")
    return priors


def make_priors(
    outlines: Iterable[Outline],
    *,
    num_classes: int,
    num_priors: int,
    class_agnostic: bool = False,
    seed: int = 0,
) -> Tensor:
    """(C, K, M, M) means of clusters of the masks of each class; zeros of classes without objects.

    Args:
        outlines: of objects.
        num_classes: C.
        num_priors: K; a class with fewer objects repeats what it has.
        class_agnostic: one set of priors, of all objects, in every row, that of the background too.
        seed: of the clusters.
    """
    masks: dict[int, list[Tensor]] = defaultdict(list)
    for label, mask in outlines:
        masks[0 if class_agnostic else label].append(small_mask(mask))
    priors = torch.zeros(num_classes, num_priors, SIDE, SIDE)
    for label, own in sorted(masks.items()):
        generator = torch.Generator().manual_seed(seed + label)
        priors[label] = cluster_masks(torch.stack(own), num_priors, generator)
    return priors[:1].repeat(num_classes, 1, 1, 1) if class_agnostic else priors


def cluster_masks(masks: Tensor, num_priors: int, generator: torch.Generator) -> Tensor:
    """(K, M, M) means of clusters of one or more masks (N, M, M), by k-means; the largest first."""
    points = masks.flatten(1)
    means = _spread(points, num_priors, generator)
    for _ in range(_NUM_ROUNDS):
        owners = torch.cdist(points, means).argmin(dim=1)
        counts = owners.bincount(minlength=len(means))
        sums = torch.zeros_like(means).index_add_(0, owners, points)
        # A cluster that lost its last mask stays where it was.
        new = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), means)
        if torch.equal(new, means):
            break
        means = new
    means = means[counts.argsort(descending=True, stable=True)]
    repeats = -(-num_priors // len(means))
    return means.repeat(repeats, 1)[:num_priors].view(-1, *masks.shape[1:]).clamp(0, 1)


def _spread(points: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Up to so many different points, drawn far from one another (greedy k-means++)."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = ((points - points[chosen[0]]) ** 2).sum(dim=1)
    while len(chosen) < number and bool(nearest.max() > 0):
        drawn = torch.multinomial(nearest, _NUM_DRAWN, replacement=True, generator=generator)
        left = torch.cdist(points[drawn], points).square().minimum(nearest)
        best = int(left.sum(dim=1).argmin())
        chosen.append(int(drawn[best]))
        nearest = left[best]
        nearest[chosen] = 0
    return points[chosen]


def small_mask(mask: Tensor) -> Tensor:
    """(M, M) probabilities of a mask (h, w) that fills its box; of one of this size, itself."""
    is_larger = mask.shape[0] > SIDE or mask.shape[1] > SIDE
    # Of pixels that become one the mean is taken.
    method = cv2.INTER_AREA if is_larger else cv2.INTER_LINEAR
    resized = cv2.resize(mask.numpy().astype(np.float32), (SIDE, SIDE), interpolation=method)
    return torch.from_numpy(resized).clamp(0, 1)
