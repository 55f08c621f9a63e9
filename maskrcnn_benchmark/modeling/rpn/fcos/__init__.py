from maskrcnn_benchmark.modeling.dense.fcos import *
