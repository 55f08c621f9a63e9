from maskrcnn_benchmark.modeling.fbnet.backbone import *
