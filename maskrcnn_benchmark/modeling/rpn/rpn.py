"""Old import path of ``maskrcnn_benchmark.modeling.dense.build``."""

from maskrcnn_benchmark.modeling.dense.build import *
