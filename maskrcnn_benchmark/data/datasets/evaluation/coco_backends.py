"""Old import path of ``maskrcnn_benchmark.evaluation.coco_backends``."""

from maskrcnn_benchmark.evaluation.coco_backends import *
