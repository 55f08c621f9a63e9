"""Old import path of ``maskrcnn_benchmark.modeling.dense.retinanet.retinanet``."""

from maskrcnn_benchmark.modeling.dense.retinanet.retinanet import *
