from maskrcnn_benchmark.modeling.dense.retinanet import *
