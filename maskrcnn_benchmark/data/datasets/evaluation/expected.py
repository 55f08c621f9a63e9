"""Old import path of ``maskrcnn_benchmark.evaluation.expected``."""

from maskrcnn_benchmark.evaluation.expected import *
