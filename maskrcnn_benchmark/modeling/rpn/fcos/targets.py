"""Old import path of ``maskrcnn_benchmark.modeling.dense.fcos.targets``."""

from maskrcnn_benchmark.modeling.dense.fcos.targets import *
