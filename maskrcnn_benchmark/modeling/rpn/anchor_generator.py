from maskrcnn_benchmark.modeling.dense.anchor_generator import *
