"""CenterMask under its own name: the public names of ``maskrcnn_benchmark``.

import centermask

for found in centermask.Predictor.from_checkpoint("model_final.pth")("photo.jpg"):
    print(found.name, found.score, found.box, found.mask)

Nothing here imports PyTorch before one of the classes is asked for.
"""

from typing import TYPE_CHECKING

import maskrcnn_benchmark
from maskrcnn_benchmark import __version__ as __version__

if TYPE_CHECKING:
    from maskrcnn_benchmark import DetectedObject, Detections, Predictor

__all__ = ["DetectedObject", "Detections", "Predictor", "__version__"]


def __getattr__(name: str) -> object:
    """The public classes, imported when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(maskrcnn_benchmark, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
