"""The same records from processes of Ray, on this machine."""

import functools
import sys

import pytest

from maskrcnn_benchmark.config.errors import MissingPackageError
from maskrcnn_benchmark.prediction.bulk.json_lines import JsonLinesFiles
from maskrcnn_benchmark.prediction.bulk.ray_data import RayWork
from maskrcnn_benchmark.prediction.bulk.run import run_bulk
from maskrcnn_benchmark.prediction.bulk.sources import find_bulk_photos
from tests.contract.source_tree import ROOT
from tests.prediction.bulk.tiny import make_work, write_photos


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"centermask\[ray\]"):
        RayWork(make_work, processes=1)


@pytest.fixture
def ray(monkeypatch):
    """A small Ray of its own."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    paths = [str(ROOT), *(path for path in sys.path if path)]
    monkeypatch.setenv("PYTHONPATH", ":".join(dict.fromkeys(paths)))
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_local_ray_gives_what_this_process_gives(ray, tmp_path):
    write_photos(tmp_path / "photos", 60)
    (tmp_path / "photos" / "00007.png").write_bytes(b"no photo")
    photos = find_bulk_photos([str(tmp_path / "photos")])
    here, there = (tmp_path / name for name in ("here.jsonl", "there.jsonl"))
    run_bulk(photos, make_work(), JsonLinesFiles(here, 0, 1))
    first, rest = photos[:20], photos
    make = functools.partial(make_work, batch=2)
    for some in (first, rest):
        work = RayWork(make, processes=2, cpus=0.5, batch=8)
        outcome = run_bulk(some, work, JsonLinesFiles(there, 0, 1))
    assert outcome == (60, 0)
    assert sorted(there.read_text().splitlines()) == sorted(here.read_text().splitlines())
