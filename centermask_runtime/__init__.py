"""Exported models run without PyTorch: on NumPy, ONNX Runtime and Pillow alone.

from centermask_runtime import Predictor

for found in Predictor.from_onnx("model.onnx")("photo.jpg"):
    print(found.name, found.score, found.box, found.mask)

Nothing here imports ONNX Runtime before a model is loaded.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from centermask_runtime.detections import DetectedObject, Detections
    from centermask_runtime.predictor import Predictor

__all__ = ["DetectedObject", "Detections", "Predictor"]


def __getattr__(name: str) -> object:
    """The public classes, imported when they are asked for."""
    if name in ("DetectedObject", "Detections"):
        from centermask_runtime import detections

        return getattr(detections, name)
    if name == "Predictor":
        from centermask_runtime.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
