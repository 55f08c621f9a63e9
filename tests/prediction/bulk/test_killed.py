"""A run that is killed, without a word, while it works."""

import json
import os
import random
import subprocess
import sys

import pytest

from maskrcnn_benchmark.prediction.bulk.result_files import make_result_files
from tests.contract.source_tree import ROOT
from tests.prediction.bulk.tiny import write_photos


def start(folder, path):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.prediction.bulk.bulk_process", str(folder), str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def written(path):
    return sum(file.stat().st_size for file in make_result_files(path, 0, 1).existing())


def kill_once_written(process, path, size):
    """SIGKILL as soon as the results have ``size`` bytes; whether it came to that."""
    while written(path) < size:
        try:
            process.wait(timeout=0.002)
        except subprocess.TimeoutExpired:
            continue
        return False
    process.kill()
    process.wait()
    return True


def rows(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()


def kill_again_and_again(tmp_path, path, count, kills):
    names = write_photos(tmp_path / "photos", count)
    bytes_each = 180 if path.suffix == ".jsonl" else 2
    killed = 0
    for _ in range(kills):
        enough = written(path) + random.randrange(1, bytes_each * count // kills)
        killed += kill_once_written(start(tmp_path / "photos", path), path, enough)
    assert killed
    assert start(tmp_path / "photos", path).wait() == 0
    found = sorted(row["file_name"] for row in rows(path))
    assert found == [str(tmp_path / "photos" / name) for name in names]
    assert not [row for row in rows(path) if row["error"] or len(row["objects"]) != 1]


def test_a_killed_run_loses_nothing_and_does_nothing_twice(tmp_path):
    kill_again_and_again(tmp_path, tmp_path / "found.jsonl", 200, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["found.jsonl", "found.parquet"])
def test_ten_thousand_photos_killed_at_random_moments(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    kill_again_and_again(tmp_path, tmp_path / name, 10_000, kills=4)
