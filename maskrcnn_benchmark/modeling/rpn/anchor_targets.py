"""Old import path of ``maskrcnn_benchmark.modeling.dense.anchor_targets``."""

from maskrcnn_benchmark.modeling.dense.anchor_targets import *
