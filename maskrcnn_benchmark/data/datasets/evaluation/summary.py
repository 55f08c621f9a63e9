"""Old import path of ``maskrcnn_benchmark.evaluation.summary``."""

from maskrcnn_benchmark.evaluation.summary import *
