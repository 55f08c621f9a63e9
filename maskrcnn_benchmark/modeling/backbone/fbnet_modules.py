from maskrcnn_benchmark.modeling.fbnet.modules import *
