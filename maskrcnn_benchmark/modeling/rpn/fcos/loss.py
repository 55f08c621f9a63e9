from maskrcnn_benchmark.modeling.dense.fcos.loss import *
