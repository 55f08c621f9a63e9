"""What runs an exported file."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Outputs: TypeAlias = Mapping[str, "np.ndarray[Any, Any]"]
Run: TypeAlias = Callable[["np.ndarray[Any, Any]"], Outputs]
"""What a file takes -> its outputs by their names."""
