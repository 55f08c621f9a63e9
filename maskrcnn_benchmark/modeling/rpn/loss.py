from maskrcnn_benchmark.modeling.dense.rpn.loss import *
