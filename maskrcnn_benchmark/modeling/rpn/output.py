"""Old import path of ``maskrcnn_benchmark.modeling.dense.stage``."""

from maskrcnn_benchmark.modeling.dense.stage import *
