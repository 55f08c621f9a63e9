"""The plain PyTorch twin of every operator, under the operator's name."""

from types import SimpleNamespace

from maskrcnn_benchmark.layers._ops import OPERATORS

TWINS = SimpleNamespace(**{operator.name: operator.reference for operator in OPERATORS})
