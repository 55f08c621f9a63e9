from maskrcnn_benchmark.weights.files import *
