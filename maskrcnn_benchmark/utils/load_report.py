"""Old import path of ``maskrcnn_benchmark.weights.load_report``."""

from maskrcnn_benchmark.weights.load_report import *
