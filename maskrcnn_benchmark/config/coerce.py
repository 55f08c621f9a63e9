"""How a value from YAML or the command line becomes a value of a key's type."""

import ast
from typing import TypeGuard

from maskrcnn_benchmark.config.errors import ConfigError

Entries = list[object] | tuple[object, ...]

# Keys whose default happens to be a whole number although any number makes sense.
REAL_VALUED_KEYS = frozenset(
    {"BIAS_LR_FACTOR", "WEIGHT_DECAY_BIAS", "EXPECTED_RESULTS_SIGMA_TOL", "STRADDLE_THRESH"}
)

# Sequences for which the original's scripts also write a single number.
KEYS_OF_ONE_OR_MORE = frozenset({"INPUT.MIN_SIZE_TRAIN"})

# Sequences of numbers whose entries may also be sequences of numbers.
KEYS_OF_NESTED_NUMBERS = frozenset({"MODEL.RPN.ANCHOR_SIZES"})


# Flags that may also be left to the program.
KEYS_OF_FLAG_OR_AUTO = frozenset({"MODEL.CHANNELS_LAST"})


def decode(raw: object) -> object:
    """The Python literal that a string spells, or the string itself; other values unchanged."""
    if not isinstance(raw, str):
        return raw
    try:
        return ast.literal_eval(raw)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return raw


def coerce(raw: object, default: object, key: str) -> object:
    """``raw``, as YAML or a command line gave it, as a value of the type of ``default``.

    Strings that spell a literal are decoded, lists and tuples and whole numbers and floats are
    converted into one another where nothing is lost, and an empty YAML value (None) stands for an
    empty string or sequence.

    Raises:
        ConfigError: when the type does not fit; the message names the ``key`` and both types.
    """
    value = decode(raw)
    if key in KEYS_OF_FLAG_OR_AUTO:
        return value if value == "auto" else _to_bool(value, key, "True, False or 'auto'")
    if isinstance(default, str):
        return _to_str(raw, key)
    if isinstance(default, bool):
        return _to_bool(value, key)
    if isinstance(default, (int, float)):
        return _to_number(value, type(default), key)
    if isinstance(default, (list, tuple)):
        return _to_sequence(value, default, key)
    return value


def _mismatch(key: str, expected: str, value: object) -> ConfigError:
    return ConfigError(f"{key} expects {expected}, got {type(value).__name__} {value!r}")


def _to_str(raw: object, key: str) -> str:
    if raw is None:
        return ""
    if not isinstance(raw, str):
        raise _mismatch(key, "a string", raw)
    unquoted = decode(raw) if raw[:1] in ("'", '"') else raw
    return unquoted if isinstance(unquoted, str) else raw


def _to_bool(value: object, key: str, expected: str = "True or False") -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _mismatch(key, expected, value)
    return value


def _to_number(value: object, number: type[int] | type[float], key: str) -> int | float:
    value = _checked_number(value, key)
    if number is float:
        return float(value)
    if float(value).is_integer():
        return int(value)
    if key.rpartition(".")[2] not in REAL_VALUED_KEYS:
        raise _mismatch(key, "a whole number", value)
    return float(value)


def _to_sequence(value: object, default: Entries, key: str) -> Entries:
    if value is None:
        value = ()
    if key in KEYS_OF_ONE_OR_MORE and _is_number(value):
        value = (value,)
    if not isinstance(value, (list, tuple)):
        hint = ' (one entry is written with a comma: ("name",))' if isinstance(value, str) else ""
        raise _mismatch(key, f"a sequence such as {tuple(default)!r}{hint}", value)
    name = f"an entry of {key}"
    entries = list(value)
    if default and all(isinstance(entry, bool) for entry in default):
        entries = [_to_bool(decode(entry), name) for entry in entries]
    elif default and all(_is_number(entry) for entry in default):
        check = _checked_numbers if key in KEYS_OF_NESTED_NUMBERS else _checked_number
        entries = [check(decode(entry), name) for entry in entries]
    return type(default)(entries)


def _checked_number(value: object, name: str) -> int | float:
    if not _is_number(value):
        raise _mismatch(name, "a number", value)
    return value


def _checked_numbers(value: object, name: str) -> int | float | tuple[int | float, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(_checked_number(decode(entry), name) for entry in value)
    return _checked_number(value, name)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
