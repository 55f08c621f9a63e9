"""CenterMask: anchor-free instance segmentation on the maskrcnn-benchmark architecture.

from maskrcnn_benchmark import Predictor

for found in Predictor.from_checkpoint("model_final.pth")("photo.jpg"):
    print(found.name, found.score, found.box, found.mask)

Nothing here imports PyTorch before one of the classes is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskrcnn_benchmark.engine.detections import DetectedObject, Detections
    from maskrcnn_benchmark.engine.predictor import Predictor

__all__ = ["DetectedObject", "Detections", "Predictor", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """The public classes, imported when they are asked for."""
    if name in ("DetectedObject", "Detections"):
        from maskrcnn_benchmark.engine import detections

        return getattr(detections, name)
    if name == "Predictor":
        from maskrcnn_benchmark.engine.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
