"""Old import path of ``maskrcnn_benchmark.modeling.fbnet.backbone``."""

from maskrcnn_benchmark.modeling.fbnet.backbone import *
