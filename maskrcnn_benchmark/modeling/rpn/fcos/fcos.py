"""Old import path of ``maskrcnn_benchmark.modeling.dense.fcos.fcos``."""

from maskrcnn_benchmark.modeling.dense.fcos.fcos import *
