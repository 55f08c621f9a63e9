from maskrcnn_benchmark.evaluation.result import *
