from maskrcnn_benchmark.modeling.fbnet.architectures import *
