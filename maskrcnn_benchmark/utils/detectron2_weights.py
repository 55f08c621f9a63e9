from maskrcnn_benchmark.weights.detectron2 import *
