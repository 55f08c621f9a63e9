"""Old import path of ``maskrcnn_benchmark.weights.model_serialization``."""

from maskrcnn_benchmark.weights.model_serialization import *
