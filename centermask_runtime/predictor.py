"""Photos in, what an exported model finds on them out; ONNX Runtime computes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, overload

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from PIL import Image

from centermask_runtime.detections import Detections
from centermask_runtime.errors import ConfigError, ModelFileError
from centermask_runtime.image_io import Photo, as_image
from centermask_runtime.masks import LEGACY_PASTE, ArrayPasteRule, InclusivePaste, SubPixelPaste
from centermask_runtime.metadata import METADATA_KEY, ExportMetadata, MetadataError, PasteRecord
from centermask_runtime.pixel import LEGACY_PIXEL_OFFSET

logger = logging.getLogger(__name__)

DEFAULT_SCORE_THRESHOLD: Final = 0.5
"""Of models for which nobody has looked for a better one."""

_INPUT: Final = "image"
_NEEDED: Final = frozenset({"boxes", "labels", "scores"})
_MOST_PADDING: Final = 2**12
_ERRORS_ONLY: Final = 3
"""Severity of ONNX Runtime's messages."""
_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
# ONNX Runtime has no error that all of its errors are.
_ORT_ERRORS: Final[tuple[type[Exception], ...]] = (
    RuntimeError,
    ValueError,
    *(
        error
        for error in vars(ort_errors).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
)


class _Shape(NamedTuple):
    """What an output has to be, behind its first dimension."""

    sides: tuple[int | None, ...]
    dtype: type[np.generic]


_OUTPUTS: Final[Mapping[str, _Shape]] = {
    "boxes": _Shape((4,), np.float32),
    "labels": _Shape((), np.int64),
    "scores": _Shape((), np.float32),
    "mask_scores": _Shape((), np.float32),
    "masks": _Shape((None, None), np.float32),
    "keypoints": _Shape((None, 2), np.float32),
    "keypoint_scores": _Shape((None,), np.float32),
}


class Predictor:
    """Runs an exported detector on photos.

    Args:
        session: of the model.
        metadata: what its file says of it.
        name: of its file, in messages.

    Attributes:
        class_names: label to name.
        class_ids: label to the class's id in annotations.
        score_threshold: the score, 0 to 1, from which detections are worth showing. Less sure
            ones are returned, too: ``predictor(photo).above(predictor.score_threshold)``.
        metadata: what the file says.
        device: that it runs on, "cpu" or "cuda".

    Raises:
        ModelFileError: it takes or gives something else than an exported detector.
    """

    def __init__(
        self, *, session: onnxruntime.InferenceSession, metadata: ExportMetadata, name: str
    ) -> None:
        if metadata.kind != "detector":
            raise ModelFileError(
                f"{name}: holds the network alone (--dense), which gives maps and no detections; "
                "export the model without --dense, or run it as docs/export.md of the package "
                "with PyTorch says"
            )
        if metadata.pixel_offset not in (0, LEGACY_PIXEL_OFFSET):
            raise ModelFileError(f"{name}: unknown pixel_offset {metadata.pixel_offset}")
        if len(metadata.class_names) != len(metadata.category_ids):
            raise ModelFileError(f"{name}: not every class has a name and an id")
        self._outputs = _output_names(session, name)
        self.metadata = metadata
        self.class_names = dict(enumerate(metadata.class_names, start=1))
        self.class_ids = dict(enumerate(metadata.category_ids, start=1))
        threshold = metadata.score_threshold
        self.score_threshold = DEFAULT_SCORE_THRESHOLD if threshold is None else threshold
        if not 0 <= self.score_threshold <= 1:
            raise ModelFileError(f"{name}: score_threshold: expected 0 to 1, got {threshold}")
        self.device = "cuda" if _CUDA in session.get_providers() else "cpu"
        self._session = session
        self._name = name
        self._paste_rule = _paste_rule(metadata.mask_paste, name)

    @classmethod
    def from_onnx(
        cls, path: str | os.PathLike[str], device: str | None = None, threads: int | None = None
    ) -> Predictor:
        """The predictor of the model in a file of ``centermask export --format onnx``.

        Args:
            path: of the file.
            device: "cpu", "cuda" or "cuda:N"; None takes a GPU if this ONNX Runtime uses one, and
                the log says so if it has one that does not run.
            threads: that compute one photo; None takes OMP_NUM_THREADS, or all processors that
                this process may use.

        Raises:
            ModelFileError: there is no such file, or it is no such model.
            MetadataError: it does not say what model it is of, or in a way not known here.
            ConfigError: the device is none that this ONNX Runtime uses, or it does not run.
        """
        file = Path(os.path.expanduser(os.fspath(path)))
        if not file.is_file():
            raise ModelFileError(f"no such model file: {file}")
        providers = _providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or _num_threads()
        try:
            # What fails is told, and not tried again otherwise.
            session = onnxruntime.InferenceSession(
                str(file), options, providers=providers, enable_fallback=0
            )
            text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        except _ORT_ERRORS as error:
            raise ModelFileError(
                f"{file} is no ONNX model that ONNX Runtime {onnxruntime.__version__} can run "
                f"(expected a file of `centermask export --format onnx`): {_first_line(error)}"
            ) from error
        _check_used(device, providers, session)
        try:
            metadata = ExportMetadata.from_json(text)
        except MetadataError as error:
            raise MetadataError(f"{file}: {error}") from None
        return cls(session=session, metadata=metadata, name=str(file))

    @overload
    def __call__(self, image: Photo) -> Detections: ...

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Detections]: ...

    def __call__(self, image: Photo | list[Any] | tuple[Any, ...]) -> Detections | list[Detections]:
        """The detections on a photo, in px of the photo; a list of them for a list.

        Args:
            image: a path, a Pillow image or an array (RGB; of OpenCV's BGR give ``[..., ::-1]``),
                see ``as_image``; or a list or tuple of such.

        Raises:
            ImageReadError: a file that cannot be read.
            ModelFileError: the model fails, or gives what no detections can be made of.
        """
        if isinstance(image, (list, tuple)):
            return [self._detect(as_image(one)) for one in image]
        return self._detect(as_image(image))

    def _detect(self, photo: Image.Image) -> Detections:
        try:
            values = self._session.run(self._outputs, {_INPUT: np.asarray(photo)})
        except _ORT_ERRORS as error:
            raise ModelFileError(f"{self._name} cannot be run: {_first_line(error)}") from error
        given = dict(zip(self._outputs, values, strict=True))
        found = _checked(given, self._name)
        if self._paste_rule is None:
            found.pop("masks", None)
        if self.metadata.keypoint_offset is None:
            found.pop("keypoints", None)
        return Detections(
            boxes=found["boxes"],
            labels=found["labels"],
            scores=found["scores"],
            size=photo.size,
            mask_scores=found.get("mask_scores"),
            mask_probabilities=found.get("masks"),
            class_names=self.class_names,
            class_ids=self.class_ids,
            pixel_offset=self.metadata.pixel_offset,
            paste_rule=self._paste_rule or LEGACY_PASTE,
            keypoints=found.get("keypoints"),
            keypoint_scores=found.get("keypoint_scores"),
            keypoint_offset=self.metadata.keypoint_offset or 0,
        )


def _providers(device: str | None, available: Sequence[str]) -> list[Any]:
    """What ONNX Runtime is to compute on."""
    kind, _, number = (device or "").partition(":")
    if kind not in ("", "cpu", "cuda") or (number and not number.isdecimal()):
        raise ConfigError(f"--device: expected cpu, cuda or cuda:N, got {device}")
    if kind == "cuda" and _CUDA not in available:
        raise ConfigError(
            f"--device {device}: this ONNX Runtime has {', '.join(available)}, and no {_CUDA}: "
            "pip install onnxruntime-gpu, or choose cpu"
        )
    if kind == "cpu" or _CUDA not in available:
        return [_CPU]
    return [(_CUDA, {"device_id": int(number or 0)}), _CPU]


def _check_used(
    device: str | None, wanted: Sequence[Any], session: onnxruntime.InferenceSession
) -> None:
    """See to it that the processor does not stand in for a GPU unasked.

    ONNX Runtime goes on without a provider whose libraries cannot be loaded.
    """
    used = session.get_providers()
    if wanted == [_CPU] or _CUDA in used:
        return
    reason = (
        f"the {_CUDA} of ONNX Runtime {onnxruntime.__version__} cannot be used here (CUDA, cuDNN "
        "or the driver is missing, or of another version)"
    )
    if device is not None:
        raise ConfigError(f"--device {device}: {reason}; choose cpu")
    logger.warning("%s: computing with %s", reason, ", ".join(used))


def _num_threads() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300] or type(error).__name__


def _output_names(session: onnxruntime.InferenceSession, name: str) -> list[str]:
    """Those of a model that takes a photo and gives detections.

    Raises:
        ModelFileError: it takes or gives something else.
    """
    try:
        inputs = {each.name: (each.type, each.shape) for each in session.get_inputs()}
        outputs = [each.name for each in session.get_outputs()]
    # Names that are no text.
    except _ORT_ERRORS as error:
        raise ModelFileError(f"{name}: damaged: {_first_line(error)}") from error
    kind, shape = inputs.get(_INPUT, ("", []))
    if len(inputs) != 1 or kind != "tensor(uint8)" or len(shape) != 3 or shape[2] != 3:
        raise ModelFileError(
            f"{name}: expected one input {_INPUT!r}, tensor(uint8) of (H, W, 3), got {inputs}"
        )
    missing = sorted(_NEEDED - set(outputs))
    if missing:
        raise ModelFileError(f"{name}: the outputs {missing} of a detector are missing")
    return outputs


def _paste_rule(record: PasteRecord | None, name: str) -> ArrayPasteRule | None:
    if record is None:
        return None
    if 0 <= record.threshold <= 1 and 0 <= record.padding <= _MOST_PADDING:
        if record.rule == "inclusive":
            return InclusivePaste(record.threshold, record.padding)
        if record.rule == "sub_pixel" and record.padding == 0:
            return SubPixelPaste(record.threshold)
    raise ModelFileError(f"{name}: masks are pasted in a way that is not known here: {record}")


def _checked(given: Mapping[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """The known outputs, with as many entries as there are detections.

    Raises:
        ModelFileError: one is of another shape or type, or a box is not finite.
    """
    known = {key: value for key, value in given.items() if key in _OUTPUTS}
    count = int(given["num_detections"]) if "num_detections" in given else len(known["boxes"])
    for key, value in known.items():
        sides, dtype = _OUTPUTS[key]
        fits = value.ndim == len(sides) + 1 and len(value) >= count >= 0
        pairs = zip(sides, value.shape[1:], strict=False)
        fits = fits and all(side in (None, own) for side, own in pairs)
        if not fits or value.dtype != dtype:
            raise ModelFileError(
                f"{name}: output {key!r}: expected {dtype.__name__} of ({count}, "
                f"{', '.join(str(side or 'any') for side in sides)}), got {value.dtype} of "
                f"{value.shape}"
            )
    found = {key: value[:count] for key, value in known.items()}
    if not np.isfinite(found["boxes"]).all():
        raise ModelFileError(f"{name}: output 'boxes': expected finite numbers")
    masks = found.get("masks")
    if ("keypoints" in found) != ("keypoint_scores" in found) or (
        "keypoints" in found and found["keypoints"].shape[:2] != found["keypoint_scores"].shape
    ):
        raise ModelFileError(f"{name}: expected a score of each keypoint")
    if masks is not None and masks.shape[1] != masks.shape[2]:
        raise ModelFileError(f"{name}: output 'masks': expected squares, got {masks.shape}")
    return found
