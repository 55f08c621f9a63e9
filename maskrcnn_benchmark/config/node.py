"""The tree of settings: yacs' CfgNode with ``_BASE_`` files and helpful errors."""

import difflib
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

from yacs.config import CfgNode as YacsCfgNode

from maskrcnn_benchmark.config.coerce import coerce, decode
from maskrcnn_benchmark.config.errors import ConfigError, UnknownNameError
from maskrcnn_benchmark.config.yaml_files import read_with_bases

# Attribute of a tree with the full names of the settings that were merged into it.
_GIVEN = "__given__"
# Attribute of a tree: full name of a setting -> its value -> what it sets besides.
_PRESETS = "__presets__"

Presets: TypeAlias = Callable[[Any], Mapping[str, object]]


class _Assignment(NamedTuple):
    node: "CfgNode"
    name: str
    key: str
    value: Any
    is_given: bool = True


class CfgNode(YacsCfgNode):  # type: ignore[misc]  # yacs has no type hints
    """A node of the tree of settings: a dict whose entries are attributes too.

    Merging checks everything before it changes anything, and raises ``ConfigError`` for unknown
    keys and for values of the wrong type.
    """

    def merge_from_file(self, cfg_filename: str | PathLike[str]) -> None:
        """Take over the settings of a YAML file; ``_BASE_`` in it names files to merge before.

        Raises:
            ConfigError: for a file that cannot be read, an unknown key (``UnknownNameError``, which
                is a ``KeyError`` too) or an unfit value.
        """
        assignments: list[_Assignment] = []
        for path, content in read_with_bases(cfg_filename):
            assignments.extend(self._with_presets(self._assignments_of_file(path, content)))
        self._apply(assignments)

    def merge_from_other_cfg(self, cfg_other: Mapping[str, Any]) -> None:
        """Take over the settings of another tree, which may be a part of a whole one.

        Raises:
            ConfigError: for an unknown key or an unfit value.
        """
        self._apply(self._with_presets(list(self._assignments(cfg_other))))

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Take over settings given as ``[key, value, key, value, ...]``, as on a command line.

        Raises:
            ConfigError: for a key without value, an unknown key or an unfit value.
        """
        if len(cfg_list) % 2:
            raise ConfigError(
                f"settings come in pairs of key and value, got {len(cfg_list)} items: "
                f"{list(cfg_list)!r}"
            )
        assignments: list[_Assignment] = []
        for key, value in zip(cfg_list[::2], cfg_list[1::2], strict=True):
            section = str(key).partition(".")[0]
            if not (section in self or self.is_new_allowed() or self.key_is_deprecated(section)):
                self._raise_unknown(str(key))
            assignments.extend(self._assignments(nested(str(key), value)))
        self._apply(self._with_presets(assignments))

    def add_presets(self, key: str, presets: Presets) -> None:
        """Let a change of the setting ``key`` set others: ``presets(value)``, by full name.

        What the same file or list says of those goes before; they do not count as given.
        """
        self.__dict__.setdefault(_PRESETS, {})[key] = presets

    def is_given(self, key: str) -> bool:
        """Whether what was merged into this tree names the setting, e.g. ``"INPUT.PIXEL_MEAN"``."""
        return key in self.__dict__.get(_GIVEN, ())

    def lookup(self, key: str) -> Any:  # noqa: ANN401 - a setting has any type
        """The setting or section of a full name, e.g. ``"INPUT.PIXEL_MEAN"``."""
        return functools.reduce(operator.getitem, key.split("."), self)

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """All settings below this node as pairs of full name ("SOLVER.BASE_LR") and value."""
        for name, value in self.items():
            if isinstance(value, CfgNode):
                yield from ((f"{name}.{rest}", leaf) for rest, leaf in value.leaves())
            else:
                yield name, value

    def _assignments_of_file(self, path: Path, content: dict[str, Any]) -> list[_Assignment]:
        try:
            return list(self._assignments(content))
        except ConfigError as error:
            raise type(error)(f"{path}: {error}") from error

    def _assignments(
        self, settings: Mapping[str, Any], root: "CfgNode | None" = None, prefix: str = ""
    ) -> Iterator[_Assignment]:
        root = self if root is None else root
        for name, raw in settings.items():
            key = f"{prefix}{name}"
            if name not in self:
                if self.is_new_allowed():
                    value = decode(raw)
                    is_section = isinstance(value, Mapping)
                    yield _Assignment(self, name, key, CfgNode(value) if is_section else value)
                elif not root.key_is_deprecated(key):
                    root._raise_unknown(key)
            elif isinstance(section := self[name], CfgNode):
                yield from section._assignments(_as_tree(raw, key), root, f"{key}.")
            else:
                yield _Assignment(self, name, key, coerce(raw, self[name], key))

    def _with_presets(self, assignments: list[_Assignment]) -> list[_Assignment]:
        """The assignments of one source, after those that they entail."""
        presets: Mapping[str, Presets] = self.__dict__.get(_PRESETS, {})
        entailed = {
            name: value
            for one in assignments
            if one.key in presets and self.lookup(one.key) != one.value
            for name, value in presets[one.key](one.value).items()
        }
        made = [each for item in entailed.items() for each in self._assignments(nested(*item))]
        return [each._replace(is_given=False) for each in made] + assignments

    def _raise_unknown(self, key: str) -> NoReturn:
        if self.key_is_renamed(key):
            self.raise_key_rename_error(key)
        raise UnknownNameError(f"unknown key {key}; the nearest known key is {self._nearest(key)}")

    def _nearest(self, key: str) -> str:
        leaves = [leaf for leaf, _ in self.leaves()]
        known = sorted({*leaves, *(leaf.rpartition(".")[0] for leaf in leaves)} - {""})
        return next(iter(difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.0)), "none")

    def _apply(self, assignments: list[_Assignment]) -> None:
        if self.is_frozen():
            raise ConfigError("this configuration is frozen: defrost() it, or a clone() of it")
        given = self.__dict__.setdefault(_GIVEN, set())
        for node, name, key, value, is_given in assignments:
            node[name] = value
            if is_given:
                given.add(key)

    @classmethod
    def _load_cfg_py_source(cls, filename: str) -> NoReturn:
        raise ConfigError(f"{filename}: a configuration is YAML; Python files are not executed")


def nested(key: str, value: object) -> dict[str, object]:
    """A value as a tree in which it has the full name ``key``."""
    section, _, rest = key.partition(".")
    return {section: nested(rest, value) if rest else value}


def _as_tree(raw: object, key: str) -> Mapping[str, Any]:
    value = decode(raw)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} is a section of keys, got {type(value).__name__} {value!r}")
    return value
