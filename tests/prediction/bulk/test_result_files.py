"""Records on the disk: whole after whatever happened to the writer."""

import json

import pytest

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.prediction.bulk.json_lines import JsonLinesFiles
from maskrcnn_benchmark.prediction.bulk.result_files import make_result_files, opened

NAMES = ["a.png", 'b "ü" \\.png', "c.png"]


def record(name):
    thing = {"category_id": 7, "category_name": "thing", "score": 0.5, "bbox": [1.0, 2.0, 3.0, 4.0]}
    thing["segmentation"] = {"size": [8, 12], "counts": "abc\\"}
    return {
        "file_name": name,
        "image_id": None,
        "width": 12,
        "height": 8,
        "error": None,
        "objects": [thing],
    }


def write(files, names):
    with opened(files):
        for name in names:
            files.add(record(name))


@pytest.fixture(params=["found.jsonl", "found.parquet"])
def path(request, tmp_path):
    if request.param.endswith("parquet"):
        pytest.importorskip("pyarrow")
    return tmp_path / "deep" / request.param


def test_what_was_added_is_finished(path):
    files = make_result_files(path, 0, 1)
    assert files.finished() == set()
    assert files.existing() == []
    write(files, NAMES[:2])
    write(files, NAMES[2:])
    assert make_result_files(path, 0, 1).finished() == set(NAMES)


def test_each_process_has_files_of_its_own_and_sees_all(path):
    for rank, name in enumerate(NAMES):
        write(make_result_files(path, rank, 3), [name])
    for place in ((0, 1), (1, 2), (2, 3)):
        assert make_result_files(path, *place).finished() == set(NAMES)
    assert len(make_result_files(path, 0, 1).existing()) == 3


def test_one_writer_at_a_time(path):
    with (
        opened(make_result_files(path, 0, 1)),
        pytest.raises(ConfigError, match="another process"),
        opened(make_result_files(path, 0, 1)),
    ):
        pass
    write(make_result_files(path, 0, 1), NAMES)


def test_records_are_kept_when_an_error_ends_the_block(path):
    def names():
        yield "a.png"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(make_result_files(path, 0, 1), names())
    assert make_result_files(path, 0, 1).finished() == {"a.png"}


def test_a_line_cut_anywhere_is_cut_off_and_no_other(tmp_path):
    path = tmp_path / "found.jsonl"
    write(JsonLinesFiles(path, 0, 1), NAMES)
    content = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        assert JsonLinesFiles(path, 0, 1).finished() == set(NAMES[:whole])
        assert path.read_bytes() == content[: ([0, *ends])[whole]]
    # A power cut can leave zeros.
    path.write_bytes(content[: ends[1]] + bytes(100))
    assert JsonLinesFiles(path, 0, 1).finished() == set(NAMES[:2])
    write(JsonLinesFiles(path, 0, 1), NAMES[2:])
    assert path.read_bytes() == content


def test_half_a_line_of_a_process_that_may_still_write_is_left(tmp_path):
    path = tmp_path / "found.jsonl"
    other = tmp_path / "found-00001-of-00002.jsonl"
    other.write_bytes(b'{"file_name": "a.png"}\n{"file')
    assert JsonLinesFiles(path, 0, 2).finished() == {"a.png"}
    assert other.read_bytes().endswith(b'{"file')
    assert JsonLinesFiles(path, 0, 1).finished() == {"a.png"}
    assert other.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("line", ["text", "[1]", '{"name": 1}', '{"file_name": 1}', ""])
def test_a_whole_line_of_something_else_is_named_and_kept(tmp_path, line):
    path = tmp_path / "found.jsonl"
    content = f"{json.dumps(record('a.png'))}\n{line}\n{json.dumps(record('b.png'))}\n"
    path.write_text(content)
    with pytest.raises(ConfigError, match="line 2"):
        JsonLinesFiles(path, 0, 1).finished()
    assert path.read_text() == content


def test_parquet_has_what_the_records_have(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("maskrcnn_benchmark.prediction.bulk.parquet.MAX_ROWS", 2)
    path = tmp_path / "found.parquet"
    files = make_result_files(path, 3, 4)
    broken = {**record("d.png"), "error": "no photo", "objects": [], "width": None}
    with opened(files):
        for one in [*map(record, NAMES), broken]:
            files.add(one)
    assert len(files.existing()) == 2
    rows = parquet.read_table(path).to_pylist()
    assert [row["file_name"] for row in rows] == [*NAMES, "d.png"]
    assert rows[0]["objects"][0]["segmentation"] == {"size": [8, 12], "counts": "abc\\"}
    assert rows[0]["objects"][0]["bbox"] == [1.0, 2.0, 3.0, 4.0]
    assert (rows[3]["error"], rows[3]["objects"], rows[3]["width"]) == ("no photo", [], None)


def test_what_a_killed_writer_of_parquet_left_is_removed_by_the_next(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "found.parquet"
    write(make_result_files(path, 0, 2), NAMES[:1])
    for rank in (0, 1):
        (path / f".part-0000{rank}-000001.parquet.9.unfinished").write_bytes(b"PAR1")
    write(make_result_files(path, 0, 2), NAMES[1:])
    assert [left.name for left in path.glob(".*")] == [".part-00001-000001.parquet.9.unfinished"]
    assert make_result_files(path, 0, 2).finished() == set(NAMES)


def test_a_broken_file_of_parquet_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "found.parquet"
    write(make_result_files(path, 0, 1), NAMES)
    (path / "other.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ConfigError, match="other"):
        make_result_files(path, 0, 1).finished()


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="jsonl"):
        make_result_files(tmp_path / "found.csv", 0, 1)
