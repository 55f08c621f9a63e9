"""Old import path of ``maskrcnn_benchmark.layers.contrib.roi_pool``."""

from maskrcnn_benchmark.layers.contrib.roi_pool import *
