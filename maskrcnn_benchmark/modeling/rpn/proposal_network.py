"""Old import path of ``maskrcnn_benchmark.modeling.dense.rpn.proposal_network``."""

from maskrcnn_benchmark.modeling.dense.rpn.proposal_network import *
