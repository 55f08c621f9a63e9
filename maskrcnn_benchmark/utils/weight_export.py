"""Old import path of ``maskrcnn_benchmark.weights.export``."""

from maskrcnn_benchmark.weights.export import *
