from maskrcnn_benchmark.weights.download import *
