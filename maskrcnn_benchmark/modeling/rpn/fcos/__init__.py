"""Old import path of ``maskrcnn_benchmark.modeling.dense.fcos``."""

from maskrcnn_benchmark.modeling.dense.fcos import *
