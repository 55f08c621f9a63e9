from maskrcnn_benchmark.modeling.dense.rpn.proposal_network import *
