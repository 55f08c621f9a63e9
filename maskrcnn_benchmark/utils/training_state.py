from maskrcnn_benchmark.weights.training_state import *
