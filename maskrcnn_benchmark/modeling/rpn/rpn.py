from maskrcnn_benchmark.modeling.dense.build import *
