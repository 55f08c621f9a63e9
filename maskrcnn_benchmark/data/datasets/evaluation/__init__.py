from maskrcnn_benchmark.evaluation import *
