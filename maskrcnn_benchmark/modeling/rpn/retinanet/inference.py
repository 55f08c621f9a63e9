"""Old import path of ``maskrcnn_benchmark.modeling.dense.retinanet.inference``."""

from maskrcnn_benchmark.modeling.dense.retinanet.inference import *
