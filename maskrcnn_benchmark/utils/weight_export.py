from maskrcnn_benchmark.weights.export import *
