"""Old import path of ``maskrcnn_benchmark.evaluation.coco_format``."""

from maskrcnn_benchmark.evaluation.coco_format import *
