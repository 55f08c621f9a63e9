from maskrcnn_benchmark.evaluation.coco_backends import *
