from maskrcnn_benchmark.evaluation.voc import *
