"""Old import path of ``maskrcnn_benchmark.modeling.dense.output``."""

from maskrcnn_benchmark.modeling.dense.output import *
