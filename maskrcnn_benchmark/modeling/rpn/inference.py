"""Old import path of ``maskrcnn_benchmark.modeling.dense.rpn.inference``."""

from maskrcnn_benchmark.modeling.dense.rpn.inference import *
