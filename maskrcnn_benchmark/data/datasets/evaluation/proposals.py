from maskrcnn_benchmark.evaluation.proposals import *
