"""``python -m tests.prediction.bulk.bulk_process PHOTOS OUTPUT``: a run that a test may kill."""

import sys
from pathlib import Path

from maskrcnn_benchmark.prediction.bulk.result_files import make_result_files
from maskrcnn_benchmark.prediction.bulk.run import run_bulk
from maskrcnn_benchmark.prediction.bulk.sources import find_bulk_photos
from tests.prediction.bulk.tiny import make_work

if __name__ == "__main__":
    run_bulk(
        find_bulk_photos([sys.argv[1]]), make_work(), make_result_files(Path(sys.argv[2]), 0, 1)
    )
