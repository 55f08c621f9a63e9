from maskrcnn_benchmark.evaluation.expected import *
