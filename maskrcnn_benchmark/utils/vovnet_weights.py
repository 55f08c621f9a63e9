"""Old import path of ``maskrcnn_benchmark.weights.vovnet``."""

from maskrcnn_benchmark.weights.vovnet import *
