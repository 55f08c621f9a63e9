"""Old import path of ``maskrcnn_benchmark.layers.contrib.deform_roi_pooling``."""

from maskrcnn_benchmark.layers.contrib.deform_roi_pooling import *
