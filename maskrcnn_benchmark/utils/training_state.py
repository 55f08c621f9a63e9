"""Old import path of ``maskrcnn_benchmark.weights.training_state``."""

from maskrcnn_benchmark.weights.training_state import *
