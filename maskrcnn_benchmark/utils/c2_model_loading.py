"""Old import path of ``maskrcnn_benchmark.weights.caffe2``."""

from maskrcnn_benchmark.weights.caffe2 import *
