from maskrcnn_benchmark.evaluation.summary import *
