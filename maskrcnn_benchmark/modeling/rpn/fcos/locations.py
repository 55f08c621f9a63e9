"""Old import path of ``maskrcnn_benchmark.modeling.dense.fcos.locations``."""

from maskrcnn_benchmark.modeling.dense.fcos.locations import *
