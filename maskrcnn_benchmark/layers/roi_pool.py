from maskrcnn_benchmark.layers.contrib.roi_pool import *
