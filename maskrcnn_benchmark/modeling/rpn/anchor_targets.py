from maskrcnn_benchmark.modeling.dense.anchor_targets import *
