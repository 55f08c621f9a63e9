"""Optimizer and scheduler states: whether they can be saved, and bringing them back."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from maskrcnn_benchmark.weights.load_report import CheckpointError

# Types that torch.load reads back without running code from the file.
_PLAIN_TYPES = (
    type(None), bool, int, float, complex, str, bytes, Tensor, torch.Size, torch.device, torch.dtype
)  # fmt: skip
_CONTAINERS = (list, tuple, set, dict, OrderedDict, Counter)
# Settings by which one kind of optimizer is told from another.
_DISTINCTIVE_SETTINGS = ("momentum", "betas")
# Per-group values that belong to the run and not to the configuration.
_GROUP_STATE = ("params", "lr", "initial_lr")

logger = logging.getLogger(__name__)


def unloadable_entries(value: object, name: str) -> Iterator[str]:
    """Where in a nested value objects lie that could be saved but not loaded; ``name`` is its."""
    # Exact types: a subclass (a named tuple, NumPy's float64) is pickled by its own name.
    if type(value) in _PLAIN_TYPES or isinstance(value, torch.nn.Parameter):
        return
    if type(value) not in _CONTAINERS:
        yield f"{name} ({type(value).__module__}.{type(value).__qualname__})"
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from unloadable_entries(key, f"{name} key {key!r}")
            yield from unloadable_entries(entry, f"{name}.{key}")
    elif isinstance(value, (list, tuple, set)):
        for index, entry in enumerate(value):
            yield from unloadable_entries(entry, f"{name}[{index}]")


def restore_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Give the optimizer the saved per-parameter state and learning rates.

    Its other settings stay those it was made with; where the saved ones differ, that is logged.

    Raises:
        CheckpointError: the state is one of other parameters or of another kind of optimizer.
    """
    current = optimizer.state_dict()
    _check_groups(current["param_groups"], saved.get("param_groups", []))
    pairs = list(zip(current["param_groups"], saved["param_groups"], strict=True))
    shapes = [tuple(p.shape) for group in optimizer.param_groups for p in group["params"]]
    saved_ids = [number for _, group in pairs for number in group["params"]]
    _check_state_shapes(dict(zip(saved_ids, shapes, strict=True)), saved.get("state", {}))
    _log_differences(pairs)
    groups = [
        {**mine, **{key: theirs[key] for key in _GROUP_STATE if key in theirs}}
        for mine, theirs in pairs
    ]
    optimizer.load_state_dict({"state": saved.get("state", {}), "param_groups": groups})


def _check_groups(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    my_sizes = [len(group["params"]) for group in mine]
    their_sizes = [len(group["params"]) for group in theirs]
    if my_sizes != their_sizes:
        raise CheckpointError(
            f"the optimizer state is one of {sum(their_sizes)} parameters in {len(theirs)} groups; "
            f"this run trains {sum(my_sizes)} in {len(mine)}"
        )
    for key in _DISTINCTIVE_SETTINGS:
        if any((key in m) != (key in t) for m, t in zip(mine, theirs, strict=True)):
            raise CheckpointError(
                f"the optimizer state is one of another kind of optimizer (SOLVER.OPTIMIZER): only "
                f"one of the two has {key!r}"
            )


def _check_state_shapes(shapes: Mapping[int, tuple[int, ...]], state: Mapping[int, Any]) -> None:
    # torch takes any shape here, and fails (or broadcasts) in the first step.
    for number, entries in state.items():
        for name, value in entries.items():
            fits = not isinstance(value, Tensor) or value.dim() == 0
            if not fits and tuple(value.shape) != shapes.get(number):
                raise CheckpointError(
                    f"the optimizer state is one of other parameters: {name} of number {number} "
                    f"has shape {tuple(value.shape)}, the parameter {shapes.get(number)}"
                )


def _log_differences(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    differences = {
        f"{key}: the checkpoint had {theirs[key]}, going on with {mine[key]}"
        for mine, theirs in pairs
        for key in mine
        if key not in _GROUP_STATE and key in theirs and theirs[key] != mine[key]
    }
    for difference in sorted(differences):
        logger.warning("Optimizer setting %s", difference)
