from maskrcnn_benchmark.weights.checkpoint import *
