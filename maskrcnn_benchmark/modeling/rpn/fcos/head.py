"""Old import path of ``maskrcnn_benchmark.modeling.dense.fcos.head``."""

from maskrcnn_benchmark.modeling.dense.fcos.head import *
