from maskrcnn_benchmark.modeling.dense.levels import *
