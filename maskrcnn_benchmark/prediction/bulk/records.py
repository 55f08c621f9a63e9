"""What is written down of a photo: one JSON object, whose first entry says which photo.

``{"file_name": ..., "image_id": ..., "width": ..., "height": ..., "error": null, "objects": []}``
with objects as in COCO results, without their ``image_id``; of a photo that could not be read,
``error`` says why.
"""

from centermask_runtime.outputs import Found
from maskrcnn_benchmark.prediction.bulk.result_files import Record
from maskrcnn_benchmark.prediction.bulk.sources import BulkPhoto


def fault_record(photo: BulkPhoto, error: str) -> Record:
    """The record of a photo that nothing could be looked for on."""
    nothing: Record = {"width": None, "height": None, "error": error, "objects": []}
    return {"file_name": photo.key, "image_id": photo.image_id, **nothing}


def found_record(photo: BulkPhoto, found: Found) -> Record:
    """The record of what was found on a photo.

    Args:
        photo: which.
        found: in px of it.
    """
    width, height = found.size
    objects = found.to_coco(0)
    for each in objects:
        del each["image_id"]
    about: Record = {"width": width, "height": height, "error": None, "objects": objects}
    return {"file_name": photo.key, "image_id": photo.image_id, **about}
