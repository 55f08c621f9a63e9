"""Old import path of ``maskrcnn_benchmark.evaluation.checklist``."""

from maskrcnn_benchmark.evaluation.checklist import *
