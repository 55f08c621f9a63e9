from maskrcnn_benchmark.layers.contrib.deform_roi_pooling import *
