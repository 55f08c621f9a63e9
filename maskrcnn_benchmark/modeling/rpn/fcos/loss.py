"""Old import path of ``maskrcnn_benchmark.modeling.dense.fcos.loss``."""

from maskrcnn_benchmark.modeling.dense.fcos.loss import *
