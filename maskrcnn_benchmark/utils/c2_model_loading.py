from maskrcnn_benchmark.weights.caffe2 import *
