"""Old import path of ``maskrcnn_benchmark.evaluation``."""

from maskrcnn_benchmark.evaluation import *
