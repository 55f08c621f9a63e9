from maskrcnn_benchmark.weights.sources import *
