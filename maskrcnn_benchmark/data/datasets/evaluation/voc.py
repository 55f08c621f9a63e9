"""Old import path of ``maskrcnn_benchmark.evaluation.voc``."""

from maskrcnn_benchmark.evaluation.voc import *
