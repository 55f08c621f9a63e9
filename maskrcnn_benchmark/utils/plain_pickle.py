from maskrcnn_benchmark.weights.plain_pickle import *
