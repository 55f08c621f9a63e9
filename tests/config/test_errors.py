import pickle

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.config.errors import UnknownNameError


def test_errors_of_settings_are_value_errors():
    assert issubclass(ConfigError, ValueError)


def test_unknown_names_are_key_errors_with_a_plain_text():
    error = UnknownNameError("unknown key 'A'")
    assert isinstance(error, ConfigError)
    assert isinstance(error, KeyError)
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "unknown key 'A'"
