"""Where log lines go: the terminal and a file, from one process only."""

import logging
import sys
from pathlib import Path

from tqdm import tqdm

from maskrcnn_benchmark.config.errors import ConfigError

PACKAGE_LOGGER = "maskrcnn_benchmark"
_RUNTIME_LOGGER = "centermask_runtime"
"""Of the part that needs no PyTorch, which goes wherever the package's goes."""
_FORMAT = "%(asctime)s %(name)s %(levelname)s: %(message)s"


class _TerminalHandler(logging.Handler):
    """Writes lines to today's ``sys.stdout``, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "shown_by_bar", False) and _is_interactive():
            return
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except Exception:  # noqa: BLE001  # logging's own rule: a log call never raises
            self.handleError(record)


def _is_interactive() -> bool:
    """Whether both streams go to a terminal, so that a bar and the lines would be seen together."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def progress_extra() -> dict[str, bool]:
    """The ``extra`` of a log call whose content a progress bar on the terminal shows anyway.

    Such lines always reach the log file; on a terminal that shows the bar they are left out.
    """
    return {"shown_by_bar": True}


def setup_logger(
    name: str,
    save_dir: str | Path | None,
    distributed_rank: int,
    filename: str = "log.txt",
) -> logging.Logger:
    """The logger ``name``, writing to the terminal and to ``save_dir/filename`` on rank 0.

    The folder is made when missing, lines are added to what the file holds; a false ``save_dir`` is
    none. Other ranks only log errors, with their number. Calling it again for the same name
    replaces the handlers of the earlier call, so that lines never come twice.

    Raises:
        ConfigError: the folder cannot be made.
    """
    close_logger(name)
    loggers = [logging.getLogger(each) for each in _together(name)]
    for logger in loggers:
        logger.setLevel(logging.INFO if distributed_rank == 0 else logging.ERROR)
    handlers: list[logging.Handler] = [_TerminalHandler()]
    if save_dir:
        _make_folder(Path(save_dir))
        # Opened for appending, so that lines of several processes do not overwrite each other.
        file = Path(save_dir) / filename
        handlers.append(logging.FileHandler(file, encoding="utf-8", delay=distributed_rank > 0))
    prefix = f"rank {distributed_rank}: " if distributed_rank else ""
    for handler in handlers:
        handler.setFormatter(logging.Formatter(prefix + _FORMAT))
        for logger in loggers:
            logger.addHandler(handler)
    return loggers[0]


def _together(name: str) -> list[str]:
    """The logger and those that go with it."""
    return [name, _RUNTIME_LOGGER] if name == PACKAGE_LOGGER else [name]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if folder.is_file() else error.strerror
        raise ConfigError(f"OUTPUT_DIR: cannot make the folder {folder}: {reason}") from error


def close_logger(name: str) -> logging.Logger:
    """The logger ``name`` with its handlers removed and closed."""
    for logger in map(logging.getLogger, _together(name)):
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
    return logging.getLogger(name)
