from maskrcnn_benchmark.modeling.dense.fcos.locations import *
