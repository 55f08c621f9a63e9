"""Old import path of ``maskrcnn_benchmark.evaluation.result``."""

from maskrcnn_benchmark.evaluation.result import *
