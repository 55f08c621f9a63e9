"""Loaders of the reference outputs of the original program under tests/golden/."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN_DIR = Path(__file__).parent / "golden"


@cache
def golden_npz(name: str) -> dict[str, np.ndarray]:
    """Arrays of tests/golden/<name>.npz; treat them as read-only."""
    with np.load(GOLDEN_DIR / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


@cache
def golden_json(name: str) -> Any:
    """Content of tests/golden/<name>.json; treat it as read-only."""
    return json.loads((GOLDEN_DIR / f"{name}.json").read_text())
