import logging
import sys

import pytest

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.utils import logger as logger_module
from maskrcnn_benchmark.utils.logger import close_logger, progress_extra, setup_logger

NAME = "test_logger_of_centermask"


@pytest.fixture(autouse=True)
def _closed():
    yield
    close_logger(NAME)


def test_lines_of_the_package_reach_terminal_and_file_once(tmp_path, capsys):
    setup_logger(NAME, tmp_path, 0)
    setup_logger(NAME, tmp_path / "new", 0)
    logging.getLogger(f"{NAME}.part").info("a line")
    terminal = capsys.readouterr().out
    assert terminal.count(f"{NAME}.part INFO: a line") == 1
    assert (tmp_path / "new" / "log.txt").read_text() == terminal
    assert (tmp_path / "log.txt").read_text() == ""


def test_a_second_run_adds_to_the_file(tmp_path):
    for text in ("first", "second"):
        setup_logger(NAME, tmp_path, 0, filename="run.txt").info(text)
    lines = (tmp_path / "run.txt").read_text().splitlines()
    assert [line.rsplit(maxsplit=1)[-1] for line in lines] == ["first", "second"]


def test_other_ranks_tell_errors_only(tmp_path, capsys):
    logger = setup_logger(NAME, tmp_path, 1)
    logger.warning("quiet")
    assert list(tmp_path.iterdir()) == []
    logger.error("loud")
    terminal = capsys.readouterr().out
    assert "quiet" not in terminal
    assert "loud" in terminal


@pytest.mark.parametrize("watched", [True, False])
def test_progress_lines_stay_in_the_file_when_a_bar_is_watched(
    tmp_path, capsys, monkeypatch, watched
):
    monkeypatch.setattr(logger_module, "_is_interactive", lambda: watched)
    logger = setup_logger(NAME, tmp_path, 0)
    logger.info("iter: 20", extra=progress_extra())
    logger.info("done")
    terminal = capsys.readouterr().out
    assert ("iter: 20" in terminal) is not watched
    assert "done" in terminal
    assert "iter: 20" in (tmp_path / "log.txt").read_text()


def test_no_folder_means_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setup_logger(NAME, "", 0).info("text")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_terminal_does_not_stop_the_program(tmp_path, monkeypatch):
    class Broken:
        def write(self, text):
            raise OSError("no space")

        flush = write

    monkeypatch.setattr(sys, "stdout", Broken())
    monkeypatch.setattr(logging, "raiseExceptions", False)
    setup_logger(NAME, tmp_path, 0).info("text")
    assert "text" in (tmp_path / "log.txt").read_text()


def test_errors_of_other_ranks_are_in_the_file_with_their_number(tmp_path):
    for rank in (0, 1):
        logger = setup_logger("ranks", tmp_path, rank)
        logger.warning("warning of %d", rank)
        logger.error("error of %d", rank)
        close_logger("ranks")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == [
        "warning of 0",
        "error of 0",
        "error of 1",
    ]
    assert lines[2].startswith("rank 1: ")


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    path = tmp_path / "run"
    path.touch()
    with pytest.raises(ConfigError, match=r"OUTPUT_DIR.*run: there is a file"):
        setup_logger("file", path, 0)
