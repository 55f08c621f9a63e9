"""Parts of models that are made of the objects to train on, and not trained."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from maskrcnn_benchmark.structures.tight_outlines import Outline


@runtime_checkable
class MadeOfOutlines(Protocol):
    """A part with buffers that are computed from outlines before the training starts."""

    @property
    def unmade_labels(self) -> tuple[int, ...]:
        """Classes whose buffers are empty, also after weights were loaded."""
        ...

    def make_from(self, outlines: Iterable[Outline], *, seed: int) -> str:
        """What was made, in words: the empty buffers are filled.

        Args:
            outlines: of objects to train on, of any class.
            seed: of what is drawn.
        """
        ...
