import os
import signal

import pytest

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.exits import log_exit, plain_errors


def be_interrupted():
    with log_exit():
        raise KeyboardInterrupt


def be_terminated():
    with log_exit():
        os.kill(os.getpid(), signal.SIGTERM)


def fail():
    with log_exit():
        raise FloatingPointError("loss_mask is nan")


def test_ctrl_c_ends_without_a_traceback():
    with pytest.raises(SystemExit) as caught:
        be_interrupted()
    assert caught.value.code == 130
    assert caught.value.__cause__ is None


def test_sigterm_ends_with_its_own_code_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        be_terminated()
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_is_in_the_log_too(caplog):
    with pytest.raises(FloatingPointError):
        fail()
    assert "FloatingPointError: loss_mask is nan" in caplog.text


def test_foreseeable_errors_end_with_one_message(capsys):
    with pytest.raises(SystemExit) as caught, plain_errors():
        raise ConfigError("SOLVER.MAX_ITER: expected a number")
    assert caught.value.code == 2
    assert caught.value.__suppress_context__
    assert capsys.readouterr().err == "ConfigError: SOLVER.MAX_ITER: expected a number\n"


def test_a_logged_error_is_not_told_again(capsys, caplog):
    with pytest.raises(SystemExit) as caught, plain_errors(), log_exit():
        raise FloatingPointError("loss_mask is nan")
    assert caught.value.code == 2
    assert "loss_mask is nan" not in capsys.readouterr().err
    assert caplog.messages == ["FloatingPointError: loss_mask is nan"]


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), plain_errors():
        raise ZeroDivisionError
