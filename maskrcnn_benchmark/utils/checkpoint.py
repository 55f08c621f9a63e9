"""Old import path of ``maskrcnn_benchmark.weights.checkpoint``."""

from maskrcnn_benchmark.weights.checkpoint import *
