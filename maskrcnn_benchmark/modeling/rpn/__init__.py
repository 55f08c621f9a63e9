"""Old import paths of ``maskrcnn_benchmark.modeling.dense``."""
