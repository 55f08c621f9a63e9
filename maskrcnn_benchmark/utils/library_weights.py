"""Old import path of ``maskrcnn_benchmark.weights.library``."""

from maskrcnn_benchmark.weights.library import *
