"""Old import path of ``maskrcnn_benchmark.weights.files``."""

from maskrcnn_benchmark.weights.files import *
