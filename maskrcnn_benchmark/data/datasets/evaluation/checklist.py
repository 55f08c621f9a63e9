from maskrcnn_benchmark.evaluation.checklist import *
