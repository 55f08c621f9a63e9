"""Old import path of ``maskrcnn_benchmark.evaluation.image_results``."""

from maskrcnn_benchmark.evaluation.image_results import *
