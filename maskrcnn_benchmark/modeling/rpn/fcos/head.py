from maskrcnn_benchmark.modeling.dense.fcos.head import *
