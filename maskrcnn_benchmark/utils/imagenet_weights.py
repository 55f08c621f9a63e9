"""Old import path of ``maskrcnn_benchmark.weights.imagenet``."""

from maskrcnn_benchmark.weights.imagenet import *
