"""Old import path of ``maskrcnn_benchmark.weights.download``."""

from maskrcnn_benchmark.weights.download import *
