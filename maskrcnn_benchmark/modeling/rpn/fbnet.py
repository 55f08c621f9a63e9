from maskrcnn_benchmark.modeling.fbnet.rpn_head import *
