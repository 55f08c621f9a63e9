from maskrcnn_benchmark.weights.load_report import *
