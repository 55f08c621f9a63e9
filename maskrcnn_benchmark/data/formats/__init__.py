"""Formats of annotations: each is told by looking, and read into content of COCO's structure."""

from maskrcnn_benchmark.data.formats.format import (
    SPLIT_OF_NAME,
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
    "SPLIT_OF_NAME",
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
