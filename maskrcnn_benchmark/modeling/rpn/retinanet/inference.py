from maskrcnn_benchmark.modeling.dense.retinanet.inference import *
