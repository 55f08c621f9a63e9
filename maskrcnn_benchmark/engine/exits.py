"""How a tool's process ends: what it prints and logs, and its exit code.

Imports no PyTorch, so that a tool can report a wrong setting at once.
"""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from maskrcnn_benchmark.config.errors import UserError
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, close_logger

logger = logging.getLogger(__name__)

# Attribute of an error that has been written to the log.
_LOGGED = "was_logged"


@contextmanager
def plain_errors() -> Iterator[None]:
    """A block whose foreseeable errors end the program with one message and exit code 2.

    What is wrong with settings, files or losses is said in the message; where in the code it was
    noticed helps nobody. Other errors keep their traceback.
    """
    try:
        yield
    except (UserError, FloatingPointError) as error:
        if not getattr(error, _LOGGED, False):
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(2) from None


@contextmanager
def log_exit() -> Iterator[None]:
    """A block whose end, if it is not the natural one, is in the log.

    Ctrl-C and SIGTERM end the program with exit codes 130 and 143 and without a traceback.
    """
    former = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    try:
        yield
    except KeyboardInterrupt:
        logger.warning("Interrupted")
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        logger.error("%s: %s", type(error).__name__, error)
        setattr(error, _LOGGED, True)
        raise
    finally:
        signal.signal(signal.SIGTERM, former)
        close_logger(PACKAGE_LOGGER)


def _exit_on_sigterm(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
