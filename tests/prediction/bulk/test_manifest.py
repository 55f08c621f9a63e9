"""What results are of, and what may go on with them."""

import pytest

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.prediction.bulk.json_lines import JsonLinesFiles
from maskrcnn_benchmark.prediction.bulk.manifest import claim, digest_of

GIVEN = {"checkpoint": "abc", "threshold": 0.5, "settings": {"TEST": {"N": 1, "SIZES": (1, 2)}}}


@pytest.fixture
def files(tmp_path):
    return JsonLinesFiles(tmp_path / "found.jsonl", 0, 1)


def test_the_same_may_go_on_if_it_is_said(files):
    claim(files, GIVEN, is_resumed=False)
    claim(files, GIVEN, is_resumed=True)
    with pytest.raises(ConfigError, match="--resume"):
        claim(files, GIVEN, is_resumed=False)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"checkpoint": "abcd"}, "checkpoint"),
        ({"threshold": 0.4}, "threshold.*0.5.*0.4"),
        ({"settings": {"TEST": {"N": 2, "SIZES": (1, 2)}}}, r"settings\.TEST\.N"),
        ({"settings": {"TEST": {"N": 1}}}, r"settings\.TEST\.SIZES"),
        ({"sources": ["x"]}, "sources"),
    ],
)
def test_another_model_or_setting_is_named_and_refused(files, change, named):
    claim(files, GIVEN, is_resumed=True)
    before = files.manifest_path.read_bytes()
    with pytest.raises(ConfigError, match=named):
        claim(files, {**GIVEN, **change}, is_resumed=True)
    assert files.manifest_path.read_bytes() == before


def test_results_of_nobody_knows_what_are_refused(files, tmp_path):
    (tmp_path / "found.jsonl").write_text("a user's own\n")
    for is_resumed in (False, True):
        with pytest.raises(ConfigError, match=r"found\.jsonl"):
            claim(files, GIVEN, is_resumed=is_resumed)
    assert (tmp_path / "found.jsonl").read_text() == "a user's own\n"


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_manifest_is_named(files, content):
    files.manifest_path.write_text(content)
    with pytest.raises(ConfigError, match="damaged"):
        claim(files, GIVEN, is_resumed=True)


def test_digests_are_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, B.1.
    assert digest_of(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
