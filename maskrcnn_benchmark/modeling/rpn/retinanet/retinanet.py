from maskrcnn_benchmark.modeling.dense.retinanet.retinanet import *
