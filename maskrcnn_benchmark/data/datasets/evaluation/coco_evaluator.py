"""Old import path of ``maskrcnn_benchmark.evaluation.coco_evaluator``."""

from maskrcnn_benchmark.evaluation.coco_evaluator import *
