from maskrcnn_benchmark.visualization.draw import *
