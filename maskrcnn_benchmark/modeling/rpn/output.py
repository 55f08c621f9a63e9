from maskrcnn_benchmark.modeling.stage import *
