from maskrcnn_benchmark.modeling.dense.rpn.head import *
