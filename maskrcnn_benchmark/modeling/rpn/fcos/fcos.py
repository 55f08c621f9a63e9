from maskrcnn_benchmark.modeling.dense.fcos.fcos import *
