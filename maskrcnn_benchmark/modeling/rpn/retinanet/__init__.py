"""Old import path of ``maskrcnn_benchmark.modeling.dense.retinanet``."""

from maskrcnn_benchmark.modeling.dense.retinanet import *
