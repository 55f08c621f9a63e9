"""Old import path of ``maskrcnn_benchmark.modeling.dense.retinanet.head``."""

from maskrcnn_benchmark.modeling.dense.retinanet.head import *
