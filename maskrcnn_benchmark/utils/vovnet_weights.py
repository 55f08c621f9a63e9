from maskrcnn_benchmark.weights.vovnet import *
