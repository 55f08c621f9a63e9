"""The outlines that are painted: one small crop for each instance.

Shapes: K instances.
"""

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.predicted_masks import ImageMasks, PastedMask


def instance_shapes(boxes: BoxList) -> list[PastedMask | None]:
    """The shape of each of the K instances, ``None`` where only a box is known.

    Args:
        boxes: with the field ``mask`` (predictions: ``PredictedMasks``) or ``masks`` (ground
            truth: ``SegmentationMask``), or neither.
    """
    if boxes.has_field("mask"):
        return list(boxes.predicted_masks.crops())
    if boxes.has_field("masks"):
        masks = boxes.get_field("masks")
        # One at a time: a stack of all of them would be as large as K photos.
        bitmaps = (masks[k].to_bitmasks() for k in range(len(boxes)))
        return [crop for bitmap in bitmaps for crop in ImageMasks(bitmap, boxes.size).crops()]
    return [None] * len(boxes)
