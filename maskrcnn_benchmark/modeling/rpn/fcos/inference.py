from maskrcnn_benchmark.modeling.dense.fcos.inference import *
