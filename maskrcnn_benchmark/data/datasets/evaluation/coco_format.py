from maskrcnn_benchmark.evaluation.coco_format import *
