"""Old import path of ``maskrcnn_benchmark.modeling.dense.fcos.inference``."""

from maskrcnn_benchmark.modeling.dense.fcos.inference import *
