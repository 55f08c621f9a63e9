"""What a fault of a CUDA kernel is, how it is made and what must notice it."""

from dataclasses import dataclass
from pathlib import Path

from tests.emu.build import ADDRESS, CSRC, THREAD, Variant

NAMESPACE = "centermask_mutant"
# Optimised little or not at all: compilation takes longer than the cases.
DETECTORS = {
    "table": ("-O0", "-g0", "-Wno-error"),
    "address": (*ADDRESS, "-O0", "-Wno-error"),
    "thread": (*THREAD, "-Wno-error"),
}
"""What notices a fault -> flags: wrong results, the address or the thread sanitizer."""

_SANITIZERS = {"address": "libasan.so", "thread": "libtsan.so"}


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Args:
        name: what is wrong.
        family: stem of the .cu file whose cases are run.
        file: name of the file in csrc/ that is changed.
        old: text that occurs exactly once in it.
        new: what replaces it.
        detector: key of DETECTORS.
        report: regular expression for what the detector must print.
    """

    name: str
    family: str
    file: str
    old: str
    new: str
    detector: str = "table"
    report: str = r"FAILED .*-"

    def __str__(self) -> str:
        return self.name

    def apply(self, folder: Path) -> None:
        """Write a changed copy of csrc/ to ``folder``.

        Raises:
            ValueError: the old text is not there exactly once.
        """
        for path in (*CSRC.rglob("*.h"), *CSRC.rglob("*.cpp"), *CSRC.rglob("*.cu")):
            text = path.read_text()
            if path.name == self.file:
                if (count := text.count(self.old)) != 1:
                    raise ValueError(f"{self.file}: {self.old!r} occurs {count} times, not once")
                text = text.replace(self.old, self.new)
            copy = folder / path.relative_to(CSRC)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)


def variant(family: str, detector: str) -> Variant:
    """How to build one family of kernels for a detector."""
    sanitizer = _SANITIZERS.get(detector)
    return Variant(NAMESPACE, True, DETECTORS[detector], (family,), sanitizer)
