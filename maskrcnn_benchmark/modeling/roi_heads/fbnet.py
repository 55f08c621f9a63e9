from maskrcnn_benchmark.modeling.fbnet.roi_heads import *
