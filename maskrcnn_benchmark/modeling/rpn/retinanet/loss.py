from maskrcnn_benchmark.modeling.dense.retinanet.loss import *
