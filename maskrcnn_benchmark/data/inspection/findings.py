"""What was found in a data set: one finding for all places that have the same fault."""

from collections.abc import Sequence
from typing import Final, NamedTuple

ERROR: Final = "error"
WARNING: Final = "warning"
NOTE: Final = "note"
SEVERITIES: Final = (ERROR, WARNING, NOTE)
"""What cannot be used, what is likely to be a mistake, and what is good to know."""

REMOVE_OBJECTS: Final = "remove objects"
REMOVE_PHOTOS: Final = "remove photos"
MAKE_SINGLE: Final = "make single"
SCALE: Final = "scale"
MENDED: Final = "mended"
"""What a cleaned copy does about a finding; "mended" has been done before the look already."""

_NUM_EXAMPLES: Final = 3


class Place(NamedTuple):
    """Where something was found.

    Attributes:
        text: the place in words.
        image: position of the photo in the data set; -1: of none.
        annotation: id; None: of none.
    """

    text: str
    image: int = -1
    annotation: int | None = None


class Finding(NamedTuple):
    """One kind of fault.

    Attributes:
        severity: one of ``SEVERITIES``.
        what: it is, in the plural.
        places: where it was found.
        advice: what to do.
        cure: what a cleaned copy does about it; "" is nothing.
    """

    severity: str
    what: str
    places: tuple[Place, ...]
    advice: str = ""
    cure: str = ""

    def __str__(self) -> str:
        """A line with the count and the first places."""
        examples = ", ".join(place.text for place in self.places[:_NUM_EXAMPLES])
        more = ", ..." if len(self.places) > _NUM_EXAMPLES else ""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.severity}: {self.what}: {len(self.places)} ({examples}{more}){advice}"


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """The findings with something in them, the worst first."""
    told = [finding for finding in findings if finding.places]
    return sorted(told, key=lambda finding: SEVERITIES.index(finding.severity))
