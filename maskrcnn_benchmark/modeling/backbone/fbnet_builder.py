"""Old import path of ``maskrcnn_benchmark.modeling.fbnet.builder``."""

from maskrcnn_benchmark.modeling.fbnet.builder import *
