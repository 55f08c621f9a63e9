"""Old import path of ``maskrcnn_benchmark.modeling.dense.retinanet.loss``."""

from maskrcnn_benchmark.modeling.dense.retinanet.loss import *
