"""Old import path of ``maskrcnn_benchmark.modeling.dense.anchor_generator``."""

from maskrcnn_benchmark.modeling.dense.anchor_generator import *
