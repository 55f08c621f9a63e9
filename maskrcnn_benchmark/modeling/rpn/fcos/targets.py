from maskrcnn_benchmark.modeling.dense.fcos.targets import *
