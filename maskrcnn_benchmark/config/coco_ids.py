"""The category ids of COCO, which leave out ten numbers."""

from typing import Final

COCO_IDS: Final = tuple(
    number for number in range(1, 91) if number not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
)
"""The 80 ids, ascending: that of the class with label k is ``COCO_IDS[k - 1]``."""

VOC_COCO_IDS: Final = frozenset({*range(1, 8), 9, *range(16, 22), 44, 62, 63, 64, 67, 72})
"""Those of the 20 classes that PASCAL VOC has, too."""
