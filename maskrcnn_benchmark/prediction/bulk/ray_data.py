"""Photos to records on a Ray cluster, by Ray Data; the records come back to this process.

Every machine needs this package, and sees checkpoint and photos under the same paths.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from maskrcnn_benchmark.config.errors import MissingPackageError
from maskrcnn_benchmark.prediction.bulk.result_files import Record
from maskrcnn_benchmark.prediction.bulk.run import Work
from maskrcnn_benchmark.prediction.bulk.sources import BulkPhoto

_PHOTOS, _RECORDS = "photo", "record"
"""Columns of JSON."""


class RayWork:
    """Makes a record of each photo on processes of Ray, in any order.

    Args:
        make_work: called in each of them.
        processes: how many.
        cpus: processors that each of them takes.
        gpus: GPUs that each of them takes, 0 or 1.
        batch: photos that are handed over together.

    Raises:
        MissingPackageError: Ray is not installed.
    """

    def __init__(
        self,
        make_work: Callable[[], Work],
        *,
        processes: int,
        cpus: float = 1.0,
        gpus: int = 0,
        batch: int = 16,
    ) -> None:
        self._ray = _import_ray()
        self._make_work = make_work
        self._processes = processes
        self._cpus = cpus
        self._gpus = gpus
        self._batch = batch

    def __call__(self, photos: Sequence[BulkPhoto]) -> Iterator[Record]:
        """The records, as they come."""
        if not self._ray.is_initialized():
            # RAY_ADDRESS names a cluster; without it, one is started on this machine.
            self._ray.init(include_dashboard=False, log_to_driver=False)
        # The run has a bar and log lines of its own.
        context = self._ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = [{_PHOTOS: json.dumps(photo)} for photo in photos]
        found = self._ray.data.from_items(rows).map_batches(
            _RayWorker,
            fn_constructor_args=(self._make_work,),
            batch_size=self._batch,
            concurrency=self._processes,
            num_cpus=self._cpus,
            num_gpus=self._gpus,
        )
        for row in found.iter_rows():
            yield json.loads(row[_RECORDS])


class _RayWorker:
    """Lives in a process of Ray."""

    def __init__(self, make_work: Callable[[], Work]) -> None:
        self._work = make_work()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        photos = [BulkPhoto(*json.loads(text)) for text in batch[_PHOTOS]]
        return {_RECORDS: [json.dumps(record) for record in self._work(photos)]}


def _import_ray() -> Any:  # noqa: ANN401 - a module whose types are not checked
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError("ray", "'centermask[ray]'") from error
    return ray
