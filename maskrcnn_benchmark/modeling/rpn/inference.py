from maskrcnn_benchmark.modeling.dense.rpn.inference import *
