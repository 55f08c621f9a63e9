"""Tables from the names that configurations use to what they stand for."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar, cast

from maskrcnn_benchmark.config.errors import UnknownNameError

T = TypeVar("T")
Item = TypeVar("Item")


class Registry(Mapping[str, T]):
    """A table from the names used in configurations to the things that they stand for.

    A read-only mapping in alphabetical order.

    Args:
        kind: what the entries are, in singular, for error messages ("backbone").
        entries: registered from the start.
        filled_by: module that registers the shipped entries; whoever looks into the registry need
            not have imported it. "": those who look in have.
    """

    def __init__(
        self, kind: str, entries: Mapping[str, T] = MappingProxyType({}), *, filled_by: str = ""
    ) -> None:
        self.kind = kind
        self._filled_by = filled_by
        self._entries = dict(entries)

    def register(self, name: str, entry: T | None = None) -> Callable[[Item], Item]:
        """A decorator that registers the decorated object as ``name`` and returns it unchanged.

        Decorators can be stacked to register one object under several names. ``entry`` given
        directly (``registry.register("name", builder)``) is registered at once.

        Raises:
            ValueError: when another object already has that name.
        """

        def add(item: Item) -> Item:
            known: object = self._entries.setdefault(name, cast(T, item))
            if known is not item:
                raise ValueError(f"{self.kind} {name!r} is already registered as {known!r}")
            return item

        if entry is not None:
            add(entry)
        return add

    def __getitem__(self, name: str) -> T:
        """The entry registered under ``name``.

        Raises:
            UnknownNameError: when the name is unknown; the message lists the known ones.
        """
        if name in self.names():
            return self._entries[name]
        known = ", ".join(self.names()) or "none"
        raise UnknownNameError(f"unknown {self.kind} {name!r}; known: {known}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> tuple[str, ...]:
        """The registered names in alphabetical order."""
        if self._filled_by:
            importlib.import_module(self._filled_by)
        return tuple(sorted(self._entries))

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self.names())})"
