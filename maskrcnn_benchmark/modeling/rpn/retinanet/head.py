from maskrcnn_benchmark.modeling.dense.retinanet.head import *
