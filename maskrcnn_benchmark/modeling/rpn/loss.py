"""Old import path of ``maskrcnn_benchmark.modeling.dense.rpn.loss``."""

from maskrcnn_benchmark.modeling.dense.rpn.loss import *
