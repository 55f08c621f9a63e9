import pickle

import pytest

from maskrcnn_benchmark.config import ConfigError, NotYetAvailableError
from maskrcnn_benchmark.config.errors import UnknownNameError


def test_errors_of_settings_are_value_errors():
    assert issubclass(ConfigError, ValueError)
    assert issubclass(NotYetAvailableError, ConfigError)


def test_unknown_names_are_key_errors_with_a_plain_text():
    error = UnknownNameError("unknown key 'A'")
    assert isinstance(error, ConfigError)
    assert isinstance(error, KeyError)
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "unknown key 'A'"


def test_not_yet_available_names_the_part_and_what_it_needs():
    with pytest.raises(NotYetAvailableError, match=r"\(V-39\) is not there yet; it needs wings"):
        raise NotYetAvailableError("V-39", "wings")


def test_not_yet_available_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(NotYetAvailableError("V-39", "wings")))
    assert (error.part, error.needs) == ("V-39", "wings")
    assert "V-39" in str(error)
