"""Old import path of ``maskrcnn_benchmark.weights.sources``."""

from maskrcnn_benchmark.weights.sources import *
