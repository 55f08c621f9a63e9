"""Old import path of ``maskrcnn_benchmark.modeling.fbnet.modules``."""

from maskrcnn_benchmark.modeling.fbnet.modules import *
