"""Old import path of ``maskrcnn_benchmark.weights.plain_pickle``."""

from maskrcnn_benchmark.weights.plain_pickle import *
