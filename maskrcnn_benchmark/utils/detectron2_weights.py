"""Old import path of ``maskrcnn_benchmark.weights.detectron2``."""

from maskrcnn_benchmark.weights.detectron2 import *
