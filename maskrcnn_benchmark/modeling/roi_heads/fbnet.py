"""Old import path of ``maskrcnn_benchmark.modeling.fbnet.roi_heads``."""

from maskrcnn_benchmark.modeling.fbnet.roi_heads import *
