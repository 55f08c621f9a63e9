"""How a value from YAML or the command line becomes a value of a key's type."""

import ast
from collections.abc import Sequence
from typing import Any

from maskrcnn_benchmark.config.errors import ConfigError

# Keys whose default happens to be a whole number although any number makes sense.
REAL_VALUED_KEYS = frozenset(
    {"BIAS_LR_FACTOR", "WEIGHT_DECAY_BIAS", "EXPECTED_RESULTS_SIGMA_TOL", "STRADDLE_THRESH"}
)


def decode(raw: Any) -> Any:
    """The Python literal that a string spells, or the string itself; other values unchanged."""
    if not isinstance(raw, str):
        return raw
    try:
        return ast.literal_eval(raw)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return raw


def coerce(raw: Any, default: Any, key: str) -> Any:
    """``raw`` as a value of the type of ``default``.

    Strings that spell a literal are decoded, lists and tuples and whole numbers and floats are
    converted into one another where nothing is lost, and an empty YAML value (None) stands for
    an empty string or sequence.

    Args:
        raw: a value as YAML or the command line gave it.
        default: the value it replaces.
        key: the full name of the key, e.g. ``"SOLVER.BASE_LR"``.

    Raises:
        ConfigError: when the type does not fit; the message names the key and both types.
    """
    if isinstance(default, str):
        return _to_str(raw, key)
    value = decode(raw)
    if isinstance(default, bool):
        return _to_bool(value, key)
    if isinstance(default, (int, float)):
        return _to_number(value, type(default), key)
    if isinstance(default, (list, tuple)):
        return _to_sequence(value, default, key)
    return value


def _mismatch(key: str, expected: str, value: Any) -> ConfigError:
    return ConfigError(f"{key} expects {expected}, got {type(value).__name__} {value!r}")


def _to_str(raw: Any, key: str) -> str:
    if raw is None:
        return ""
    if not isinstance(raw, str):
        raise _mismatch(key, "a string", raw)
    unquoted = decode(raw) if raw[:1] in ("'", '"') else raw
    return unquoted if isinstance(unquoted, str) else raw


def _to_bool(value: Any, key: str) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _mismatch(key, "True or False", value)
    return value


def _to_number(value: Any, number: type[int] | type[float], key: str) -> int | float:
    if not _is_number(value):
        raise _mismatch(key, "a number", value)
    if number is float:
        return float(value)
    if float(value).is_integer():
        return int(value)
    if key.rpartition(".")[2] not in REAL_VALUED_KEYS:
        raise _mismatch(key, "a whole number", value)
    return float(value)


def _to_sequence(value: Any, default: Sequence[Any], key: str) -> Sequence[Any]:
    if value is None:
        value = ()
    if not isinstance(value, (list, tuple)):
        hint = ' (one entry is written with a comma: ("name",))' if isinstance(value, str) else ""
        raise _mismatch(key, f"a sequence such as {tuple(default)!r}{hint}", value)
    entries = type(default)(value)
    if default and all(isinstance(entry, bool) for entry in default):
        return type(default)(_to_bool(entry, f"an entry of {key}") for entry in entries)
    if default and all(_is_number(entry) for entry in default):
        return _numbers(entries, key)
    return entries


def _numbers(entries: Sequence[Any], key: str) -> Sequence[Any]:
    decoded = [decode(entry) for entry in entries]
    for entry in decoded:
        if not _is_number(entry):
            raise _mismatch(f"an entry of {key}", "a number", entry)
    return type(entries)(decoded)  # type: ignore[call-arg]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
