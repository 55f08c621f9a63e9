"""The keys of the original keep path, type and default; every new one does something."""

import ast
import re

import pytest

from maskrcnn_benchmark.config import defaults, get_default_config
from tests.contract.source_tree import PACKAGE, python_files, tree
from tests.golden_data import golden_json


def _flatten(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _original() -> dict:
    reference = golden_json("defaults")
    kinds = {"tuple": tuple, "list": list, "int": int, "float": float, "bool": bool, "str": str}
    return {
        key: kinds[reference["types"][key]](value) for key, value in _flatten(reference["config"])
    }


def test_the_reference_is_complete():
    assert set(_original()) == set(golden_json("defaults")["types"])


@pytest.mark.parametrize(("key", "expected"), _original().items())
def test_a_key_of_the_original_keeps_path_type_and_default(key, expected):
    value = dict(get_default_config().leaves())[key]
    assert value == expected
    assert type(value) is type(expected)


def _names_read_by_the_package() -> set[str]:
    """Attributes and words of strings in all code but that which defines the defaults."""
    nodes = [
        node
        for path in python_files(PACKAGE)
        if not path.name.startswith("defaults")
        for node in ast.walk(tree(path))
    ]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    words = {word for text in texts if isinstance(text, str) for word in re.findall(r"\w+", text)}
    return words | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_every_new_key_is_read():
    names = _names_read_by_the_package()
    new = [key for key, _ in get_default_config().leaves() if key not in _original()]
    assert [key for key in new if key.split(".")[-1] not in names] == []


@pytest.mark.parametrize("module", [defaults, defaults.defaults_model, defaults.defaults_heads])
def test_every_key_has_a_comment_in_front_of_it(module):
    with open(module.__file__) as file:
        source = file.read()
    lines = source.splitlines()
    settings = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Attribute)
        and not isinstance(node.value, ast.Call)
    ]
    undocumented = [
        lines[node.lineno - 1]
        for node in settings
        if not lines[node.lineno - 2].startswith("# ") or not lines[node.lineno - 2].endswith(".")
    ]
    assert settings
    assert undocumented == []


def test_the_defaults_cannot_be_changed_by_accident():
    with pytest.raises(AttributeError):
        defaults._C.SEED = 1
