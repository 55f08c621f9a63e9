from maskrcnn_benchmark.weights.library import *
