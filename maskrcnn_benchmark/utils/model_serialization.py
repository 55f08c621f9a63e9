from maskrcnn_benchmark.weights.model_serialization import *
