"""Reading annotation files in COCO's format."""

import json
import os
from typing import Any

from maskrcnn_benchmark.data.errors import DatasetError


def read_coco_json(
    ann_file: str | os.PathLike[str],
    root: str | os.PathLike[str] = "",  # noqa: ARG001 - readers of other formats need it
) -> dict[str, Any]:
    """The content of a JSON file, as it is.

    Raises:
        DatasetError: the file cannot be read, or is no JSON object.
    """
    name = os.fspath(ann_file)
    try:
        with open(name, encoding="utf-8-sig") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise DatasetError(f"no such annotation file: {name}") from None
    except OSError as error:
        raise DatasetError(f"cannot read the annotation file {name}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(
            f"{name}: expected an object with 'images', 'annotations' and 'categories', "
            f"not a {type(content).__name__}"
        )
    return content
