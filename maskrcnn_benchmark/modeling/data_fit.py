"""Parts of models that are made of the objects to train on, and not trained."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Outline(NamedTuple):
    """One object.

    Attributes:
        label: its class, from 1.
        mask: (h, w) bool, where it is inside its tight box.
    """

    label: int
    mask: Tensor


@runtime_checkable
class MadeOfOutlines(Protocol):
    """A part with buffers that are computed from outlines before the training starts."""

    @property
    def unmade_labels(self) -> tuple[int, ...]:
        """Classes whose buffers are empty, in weights that were loaded, too."""
        ...

    def make_from(self, outlines: Iterable[Outline], *, seed: int) -> str:
        """Fill the empty buffers.

        Args:
            outlines: of objects to train on, of any class.
            seed: of what is drawn.

        Returns:
            What was made, in words.
        """
        ...
