from maskrcnn_benchmark.evaluation.coco_evaluator import *
