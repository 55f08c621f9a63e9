"""What an exported file says of its model, as JSON under one key of the file's own metadata.

Imports nothing but Python's own library: whoever runs a file without PyTorch reads it with this.
"""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from centermask_runtime.errors import UserError

METADATA_KEY: Final = "centermask"
"""Under which the JSON stands, in ``metadata_props`` of ONNX."""
FORMAT_VERSION: Final = 1

Kind = Literal["detector", "dense"]
Precision = Literal["float32", "bf16"]
Operators = Literal["standard", "own"]
Record = TypeVar("Record")


class MetadataError(UserError):
    """The error of a file that does not say what model it is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeRecord:
    """How a photo becomes as large as the network wants it.

    Attributes:
        rule: name of INPUT.RESIZE_RULE; "shorter_side" resizes 8-bit pixels as Pillow does.
        sides: how the sides are rounded: "truncate", "nearest" or "floor" (``Convention.resize``).
        min_size: px of the shorter side.
        max_size: px that the longer side should not exceed.
        divisibility: height and width are padded with zeros to multiples of it, right and bottom,
            after normalising; 0 or 1 adds nothing.
    """

    rule: str
    sides: str
    min_size: int
    max_size: int
    divisibility: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PasteRecord:
    """How a mask inside a box becomes pixels.

    Attributes:
        rule: "inclusive" or "sub_pixel" (``structures.paste_rules``).
        threshold: probability above which a pixel is the object's; with "sub_pixel", from which.
        padding: zeros put around the mask first; 0 with "sub_pixel".
    """

    rule: str
    threshold: float
    padding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRecord:
    """One output of a dense file.

    Attributes:
        name: of the output.
        stride: px per cell.
        meaning: what a channel is.
    """

    name: str
    stride: int
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportMetadata:
    """A model in words.

    Attributes:
        package_version: of this package, that wrote it.
        kind: "detector": from 8-bit photos (H, W, 3) to detections in px of the photo; "dense":
            from normalised images to the maps that detections are selected from.
        model: architecture and backbone.
        class_names: of the labels 1, 2, ...
        category_ids: their ids in annotations.
        pixel_mean: subtracted, in the scale and channel order of the network.
        pixel_std: divides what is left.
        channel_order: "rgb" or "bgr", of the network's input.
        scale: 255: its pixels lie in 0..255; 1: in 0..1.
        resize: how photos are resized and padded.
        pixel_offset: what a box adds to x2 - x1 to get its width: 1, corners are pixels; 0, edges.
        mask_paste: None of a model without masks in boxes.
        score_threshold: from which score on detections are worth showing; None: nobody looked.
        max_detections: at most so many on a photo, except for ties; 0: no limit.
        nms_threshold: of two boxes of one class with a higher IoU the worse one is gone.
        config: all settings, as YAML.
        opset: of ONNX; 0 in other formats.
        maps: outputs of a dense file; () of a detector.
        size_hw: height and width of the only images that a dense file takes; () where any are.
        keypoint_offset: 1: coordinates of keypoints count pixels, as in COCO's files; 0: they are
            lengths, and the middle of pixel i lies at i + 0.5; None of a model without.
        precision: that the network has to be run in for what the file was found to detect.
        operators: "own": the file needs those of this package, too, where it is run.
        format_version: of this record.
    """

    package_version: str
    kind: Kind
    model: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    channel_order: Literal["rgb", "bgr"]
    scale: int
    resize: ResizeRecord
    pixel_offset: int
    mask_paste: PasteRecord | None
    score_threshold: float | None
    max_detections: int
    nms_threshold: float
    config: str
    opset: int
    maps: tuple[MapRecord, ...] = ()
    size_hw: tuple[int, ...] = ()
    keypoint_offset: int | None = None
    precision: Precision = "float32"
    operators: Operators = "standard"
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The text that ``from_json`` reads."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None) -> "ExportMetadata":
        """What a file says; further entries than those known are passed over.

        Args:
            text: of the file's metadata under ``METADATA_KEY``; None where there is none.

        Raises:
            MetadataError: it is not that of an export of this package, or of a later format.
        """
        if text is None:
            raise MetadataError(
                f"the file has no metadata {METADATA_KEY!r}: `centermask export` did not write it"
            )
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MetadataError(f"metadata {METADATA_KEY!r}: no JSON ({error})") from None
        version = content.get("format_version") if isinstance(content, dict) else None
        if version != FORMAT_VERSION:
            raise MetadataError(
                f"metadata {METADATA_KEY!r}: expected format_version {FORMAT_VERSION}, got "
                f"{version}; use a release of this package that knows it"
            )
        return _record(cls, content, METADATA_KEY)


def _record(kind: type[Record], content: object, name: str) -> Record:
    """The dataclass made of a JSON object."""
    if not isinstance(content, dict):
        raise _wrong(name, kind, content)
    hints = typing.get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in content:
            place = f"{name}.{field.name}"
            values[field.name] = _value(hints[field.name], content[field.name], place)
        elif field.default is dataclasses.MISSING:
            raise MetadataError(f"metadata {name}: {field.name} is missing")
    return kind(**values)


def _value(kind: Any, content: Any, name: str) -> Any:  # noqa: ANN401 - of any field
    """The value of a field of this type."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(content, list):
        return tuple(_value(parts[0], one, f"{name}[{i}]") for i, one in enumerate(content))
    if origin is types.UnionType:
        inner = next(part for part in parts if part is not type(None))
        return None if content is None else _value(inner, content, name)
    if origin is Literal and content in parts:
        return content
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast(type[Any], kind), content, name)
    if kind is float and type(content) in (int, float):
        try:
            return float(content)
        except OverflowError:
            raise _wrong(name, kind, content) from None
    if type(content) is kind:
        return content
    raise _wrong(name, kind, content)


def _wrong(name: str, kind: object, content: object) -> MetadataError:
    wanted = getattr(kind, "__name__", str(kind)) if isinstance(kind, type) else str(kind)
    return MetadataError(f"metadata {name}: expected {wanted}, got {str(content)[:50]!r}")
