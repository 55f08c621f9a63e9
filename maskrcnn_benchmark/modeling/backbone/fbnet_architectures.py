"""Old import path of ``maskrcnn_benchmark.modeling.fbnet.architectures``."""

from maskrcnn_benchmark.modeling.fbnet.architectures import *
