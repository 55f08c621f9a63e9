"""Old import path of ``maskrcnn_benchmark.modeling.stage``."""

from maskrcnn_benchmark.modeling.stage import *
