"""Every photo gets one record, whatever the photos and the runs before."""

import json

import pytest

from maskrcnn_benchmark.prediction.bulk.json_lines import JsonLinesFiles
from maskrcnn_benchmark.prediction.bulk.run import Pace, run_bulk
from maskrcnn_benchmark.prediction.bulk.sources import find_bulk_photos
from tests.prediction.bulk.tiny import find_colours, make_work, write_photos


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def photos(tmp_path):
    write_photos(tmp_path / "photos", 9)
    (tmp_path / "photos" / "00004.png").write_bytes(b"no photo")
    return find_bulk_photos([str(tmp_path / "photos")])


def test_records_say_what_is_where_and_what_could_not_be_read(tmp_path, photos):
    path = tmp_path / "found.jsonl"
    outcome = run_bulk(photos, make_work(threshold=2 / 255), JsonLinesFiles(path, 0, 1))
    assert outcome == (9, 1)
    found = {record["file_name"]: record for record in lines(path)}
    assert list(found) == [photo.key for photo in photos]
    empty, full, bad = (found[photos[number].key] for number in (1, 2, 4))
    assert (empty["objects"], empty["error"]) == ([], None)
    (thing,) = full["objects"]
    assert (full["width"], full["height"]) == (12, 8)
    assert (thing["category_id"], thing["category_name"]) == (7, "thing")
    assert thing["bbox"] == [1.0, 2.0, 5.0, 5.0]
    assert thing["segmentation"]["size"] == [8, 12]
    assert bad["objects"] == []
    assert "00004.png" in bad["error"]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_stopped_run_goes_on_with_the_rest(tmp_path, photos, batch):
    path, seen = tmp_path / "found.jsonl", []

    def find(images):
        if len(seen) >= 4:
            raise KeyboardInterrupt
        seen.extend(images)
        return find_colours(images)

    with pytest.raises(KeyboardInterrupt):
        run_bulk(photos, make_work(find, batch), JsonLinesFiles(path, 0, 1))
    first = lines(path)
    assert 0 < len(first) < 9
    with path.open("ab") as file:
        file.write(b'{"file_name": "half')
    run_bulk(photos, make_work(batch=batch), JsonLinesFiles(path, 0, 1))
    assert lines(path)[: len(first)] == first
    names = [record["file_name"] for record in lines(path)]
    assert sorted(names) == [photo.key for photo in photos]


def test_nothing_is_loaded_where_nothing_is_left(tmp_path, photos):
    path = tmp_path / "found.jsonl"
    run_bulk(photos, make_work(), JsonLinesFiles(path, 0, 1))
    before = path.read_bytes()
    assert run_bulk(photos, pytest.fail, JsonLinesFiles(path, 0, 1)) == (9, 0)
    assert path.read_bytes() == before


def test_a_photo_that_the_model_fails_on_costs_no_other(tmp_path, photos):
    path = tmp_path / "found.jsonl"

    def find(images):
        if any(image.getpixel((0, 0))[0] == 2 for image in images):
            raise RuntimeError("out of memory")
        return find_colours(images)

    assert run_bulk(photos, make_work(find, batch=4), JsonLinesFiles(path, 0, 1)) == (9, 2)
    errors = [record["file_name"] for record in lines(path) if record["error"]]
    assert sorted(errors) == [photos[2].key, photos[4].key]


def test_a_model_that_always_fails_ends_the_run(tmp_path):
    write_photos(tmp_path / "photos", 12)
    photos = find_bulk_photos([str(tmp_path / "photos")])

    def find(images):
        raise RuntimeError("the model is broken")

    with pytest.raises(RuntimeError, match="broken"):
        run_bulk(photos, make_work(find), JsonLinesFiles(tmp_path / "found.jsonl", 0, 1))


def test_pace_counts_what_this_run_did():
    now = [0.0]
    pace = Pace(100, 200, lambda: now[0], period=10)
    assert pace.step() == ""
    now[0] = 10.0
    assert "102 of 200" in (line := pace.step())
    assert "0.2 a second" in line
    assert "0:08:10" in line  # 98 at a fifth a second
    assert pace.step() == ""
