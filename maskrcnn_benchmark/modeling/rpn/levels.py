"""Old import path of ``maskrcnn_benchmark.modeling.dense.levels``."""

from maskrcnn_benchmark.modeling.dense.levels import *
