from maskrcnn_benchmark.modeling.fbnet.builder import *
