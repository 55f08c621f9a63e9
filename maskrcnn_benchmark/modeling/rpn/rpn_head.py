"""Old import path of ``maskrcnn_benchmark.modeling.dense.rpn.head``."""

from maskrcnn_benchmark.modeling.dense.rpn.head import *
