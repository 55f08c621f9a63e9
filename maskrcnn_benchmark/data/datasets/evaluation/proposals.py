"""Old import path of ``maskrcnn_benchmark.evaluation.proposals``."""

from maskrcnn_benchmark.evaluation.proposals import *
