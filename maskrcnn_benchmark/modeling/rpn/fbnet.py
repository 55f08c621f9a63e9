"""Old import path of ``maskrcnn_benchmark.modeling.fbnet.rpn_head``."""

from maskrcnn_benchmark.modeling.fbnet.rpn_head import *
