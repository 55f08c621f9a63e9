from maskrcnn_benchmark.weights.imagenet import *
