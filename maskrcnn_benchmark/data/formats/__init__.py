"""Formats of annotations: each is told by looking, and read into content of COCO's structure."""

from maskrcnn_benchmark.data.formats.format import (
    TEST,
    TRAIN,
    VAL,
    WHOLE,
    AnnotationFormat,
    ContentBuilder,
    Part,
)
from maskrcnn_benchmark.data.formats.recognise import (
    FORMATS,
    FoundData,
    find_format,
    part_of_content,
    recognise,
)

__all__ = [
    "FORMATS",
    "TEST",
    "TRAIN",
    "VAL",
    "WHOLE",
    "AnnotationFormat",
    "ContentBuilder",
    "FoundData",
    "Part",
    "find_format",
    "part_of_content",
    "recognise",
]
