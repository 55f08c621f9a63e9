"""Looking at all photos of a run before it begins: one that is damaged would end it days later."""

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.utils.comm import all_gather, get_rank, get_world_size

logger = logging.getLogger(__name__)

_FEW_PHOTOS: Final = 2000
"""Up to so many are read whole, which takes seconds; of more only the ends of the files."""
_MOST_TOLD: Final = 10


def check_photos(datasets: Sequence[DetectionDataset]) -> None:
    """Raise if a photo of some data sets cannot be used; every process must call this.

    Raises:
        DatasetError: photos are missing, damaged, or of another size than annotations say.
    """
    start = time.perf_counter()
    photos = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    whole = len(photos) <= _FEW_PHOTOS
    own = photos[get_rank() :: get_world_size()]
    faults = [fault for found in all_gather(find_faults(own, whole=whole)) for fault in found]
    if faults:
        told = "\n".join(f"  {fault}" for fault in faults[:_MOST_TOLD])
        more = f"\n  and {len(faults) - _MOST_TOLD} more" if len(faults) > _MOST_TOLD else ""
        raise DatasetError(
            f"{len(faults)} of {len(photos)} photos cannot be used:\n{told}{more}\n"
            "`centermask check-data DATA` tells all that is wrong, with --fix FOLDER it writes a "
            "copy without that"
        )
    seconds = time.perf_counter() - start
    how = "read" if whole else "looked at the ends of"
    logger.info("%s all %d photos before the start, in %.1f s", how, len(photos), seconds)


def find_faults(photos: Sequence[tuple[DetectionDataset, int]], *, whole: bool) -> list[str]:
    """What is wrong with photos, each named by its data set and position; nothing of sound ones.

    ``whole`` is that of ``DetectionDataset.check_image``.
    """

    def fault(photo: tuple[DetectionDataset, int]) -> str | None:
        dataset, index = photo
        try:
            dataset.check_image(index, whole=whole)
        except ImageReadError as error:
            return str(error)
        return None

    # Decoders and disks work while others wait.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [found for found in pool.map(fault, photos) if found is not None]
