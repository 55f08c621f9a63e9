"""Putting the tensors of a state dict into a model, and saying what became of each."""

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from maskrcnn_benchmark.weights.load_report import (
    CheckpointError,
    LoadReport,
    ShapeMismatch,
    mismatch_table,
    summarize,
)

V = TypeVar("V")
# What torch's wrappers for several devices put in front of every name.
_WRAPPER_PREFIX = "module."
_DISTRIBUTED = (nn.DataParallel, nn.parallel.DistributedDataParallel)
# Where the wrapper that torch.compile returns keeps the module.
_COMPILED = "_orig_mod"
# A counter that only live batch norms have; it does not influence any output.
_COUNTER = "num_batches_tracked"
# The convolution inside a deformable one.
_DEFORMABLE = re.compile(r"(conv\d?)\.conv\.(weight|bias)$")
# In front of all names of a file that holds a detector's body, or body and pyramid, alone.
_BACKBONE = "backbone."
# Buffers that files of other programs do not hold: anchors, which settings decide, and the widths
# of a self-adjusting loss, with which nothing is detected and which training soon finds again.
_OWN_BUFFERS = re.compile(
    r".*\.anchor_generator\.cell_anchors\.\d+|.*\.box_loss\.running_(mean|var)"
)


def strip_prefix_if_present(state_dict: Mapping[str, V], prefix: str) -> dict[str, V]:
    """The same entries with ``prefix`` removed, if every name has it; otherwise unchanged."""
    if not state_dict or not all(name.startswith(prefix) for name in state_dict):
        return dict(state_dict)
    return {name[len(prefix) :]: value for name, value in state_dict.items()}


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, without wrappers for several devices and ``torch.compile``'s around it."""
    while (inner := _wrapped_by(model)) is not None:
        model = inner
    return model


def undistributed(model: nn.Module) -> nn.Module:
    """The model without wrappers for several devices; compiled if it is so inside of them."""
    inner: nn.Module | None = model
    while inner is not None:
        if isinstance(inner, _DISTRIBUTED):
            model = inner.module
        inner = _wrapped_by(inner)
    return model


def _wrapped_by(model: nn.Module) -> nn.Module | None:
    inner = model.module if isinstance(model, _DISTRIBUTED) else getattr(model, _COMPILED, None)
    return inner if isinstance(inner, nn.Module) else None


def plain_names(entries: Mapping[str, V]) -> dict[str, V]:
    """The same entries under the names that a model has without wrappers and compiled parts."""
    uncompiled = {name.replace(f"{_COMPILED}.", ""): value for name, value in entries.items()}
    return strip_prefix_if_present(uncompiled, _WRAPPER_PREFIX)


def match_exactly(model_names: Iterable[str], file_names: Iterable[str]) -> dict[str, str]:
    """Model name to the equal file name, for the names that both have."""
    available = set(file_names)
    return {name: name for name in model_names if name in available}


def match_by_suffix(model_names: Iterable[str], file_names: Iterable[str]) -> dict[str, str]:
    """Model name to the longest file name that it ends with, counted in whole components.

    One file name may serve several model names: the two-stage C4 models hold the last ResNet
    stage once for boxes and once for masks. A deformable convolution takes the weight of the plain
    one in its place; its offsets are not in such a file.
    """
    available = set(file_names)
    matches = {}
    for name in model_names:
        found = _longest_suffix(name, available)
        found = found or _longest_suffix(_DEFORMABLE.sub(r"\1.\2", name), available)
        if found:
            matches[name] = found
    return matches


def _longest_suffix(name: str, available: Container[str]) -> str:
    parts = name.split(".")
    suffixes = (".".join(parts[start:]) for start in range(len(parts)))
    return next((suffix for suffix in suffixes if suffix in available), "")


# UPSTREAM(exact-names): the original matched every file by suffix and so never missed anything.
# That is what scripts get who call this; ``Checkpointer`` wants equal names, unless a file holds
# a bare ImageNet backbone.
def load_state_dict(
    model: nn.Module,
    loaded_state_dict: Mapping[str, Tensor],
    *,
    by_suffix: bool = True,
    strict: bool = False,
    bn_eps: float = 0.0,
    ignored: tuple[str, ...] = (),
    may_lack: tuple[str, ...] = ("",),
) -> LoadReport:
    """What was loaded into the model, which is changed only if nothing speaks against it.

    Layers with another number of outputs, as class layers have after a change of the class count,
    are left out and reported.

    Args:
        model: receives the values, cast to the types and devices of its own tensors.
        loaded_state_dict: name to tensor; marks of wrappers and of ``torch.compile`` are dropped.
        by_suffix: match a file name with every model name that ends with it.
        strict: demand that file and model hold the same tensors.
        bn_eps: added to the running variances that go to a batch norm without an epsilon (frozen
            ones here), so that it normalises as the one it was trained in.
        ignored: names that the report lists as not needed.
        may_lack: starts of names that a file of a whole detector may lack; ("",) is all of them.

    Raises:
        CheckpointError: nothing fits, shapes differ in more than the number of a layer's outputs,
            something is missing that must not, or ``strict`` and anything differs.
    """
    model = unwrap(model)
    state_dict = model.state_dict()
    wanted, own_names = plain_names(state_dict), plain_names({name: name for name in state_dict})
    given = plain_names(loaded_state_dict)
    matcher = match_by_suffix if by_suffix else match_exactly
    matches = matcher(wanted, given)
    report = _compare(wanted, given, matches, ignored)
    _refuse_unusable(report, wanted, given, strict)
    if not by_suffix:
        _refuse_fresh_parts(report.missing, may_lack)
    values = {name: given[matches[name]] for name in report.loaded}
    if bn_eps:
        values = _add_epsilon(values, wanted, bn_eps)
    model.load_state_dict({own_names[name]: v for name, v in values.items()}, strict=False)
    return report


def _compare(
    wanted: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    matches: Mapping[str, str],
    ignored: tuple[str, ...],
) -> LoadReport:
    mismatches = tuple(
        ShapeMismatch(name, tuple(given[source].shape), tuple(wanted[name].shape))
        for name, source in matches.items()
        if given[source].shape != wanted[name].shape
    )
    mismatched = {mismatch.name for mismatch in mismatches}
    used = set(matches.values())
    unused = [name for name in given if name not in used]
    absent = [name for name in wanted if name not in matches and not _is_dispensable(name)]
    # Where the file's names hang in the model: "" if they are equal, "backbone.body." and the like.
    roots = tuple({name.removesuffix(source) for name, source in matches.items()})
    if all(name.startswith(_BACKBONE) for name in given):
        roots = tuple({".".join(name.split(".")[:2]) + "." for name in given})
    return LoadReport(
        loaded=tuple(name for name in wanted if name in matches and name not in mismatched),
        missing=tuple(name for name in absent if name.startswith(roots)),
        unexpected=tuple(name for name in unused if not _is_counter(name)),
        shape_mismatch=mismatches,
        outside=tuple(name for name in absent if not name.startswith(roots)),
        ignored=ignored + tuple(filter(_is_counter, unused)),
    )


def _is_counter(name: str) -> bool:
    return name.rsplit(".", 1)[-1] == _COUNTER


def _is_dispensable(name: str) -> bool:
    return _is_counter(name) or _OWN_BUFFERS.fullmatch(name) is not None


def _refuse_unusable(
    report: LoadReport, wanted: Mapping[str, Any], given: Mapping[str, Any], strict: bool
) -> None:
    if strict and not report.is_exact:
        outside = [f"nothing for {summarize(report.outside)}"] if report.outside else []
        problems = "\n".join(report.problems() + outside)
        raise CheckpointError(f"the weights do not fit the model:\n{problems}")
    foreign = _without_class_layers(report.shape_mismatch)
    if foreign:
        raise CheckpointError(
            "the weights belong to a model of another architecture (a change of the class count "
            "alters numbers of outputs only):\n" + mismatch_table(foreign)
        )
    if not report.loaded and wanted:
        raise CheckpointError(
            "not one tensor fits the model. The file has "
            f"{summarize(tuple(given)) or 'no tensors'}; the model has {summarize(tuple(wanted))}"
        )


def _refuse_fresh_parts(missing: tuple[str, ...], may_lack: tuple[str, ...]) -> None:
    left = tuple(name for name in missing if not name.startswith(may_lack))
    if not left:
        return
    parts = tuple(dict.fromkeys(".".join(name.split(".")[:2]) for name in left))
    raise CheckpointError(
        f"the file has nothing for {len(left)} tensors of the model, which would stay random: "
        f"{summarize(left)}. Does the configuration describe the model of the file? If these are "
        f'meant to start anew, set MODEL.FRESH_PARTS "{parts}"'
    )


def _without_class_layers(mismatches: tuple[ShapeMismatch, ...]) -> tuple[ShapeMismatch, ...]:
    """The mismatches that are not explained by a layer's number of outputs.

    A layer's bias has one entry an output; which dimension of a weight counts outputs depends on
    the kind of layer, so the sizes are compared with the bias's.
    """
    outputs = {m.name: m.changed_size for m in mismatches if m.name.endswith(".bias")}

    def is_explained(mismatch: ShapeMismatch) -> bool:
        bias = f"{mismatch.name.rpartition('.')[0]}.bias"
        return mismatch.changed_size is not None and mismatch.changed_size == outputs.get(bias)

    return tuple(mismatch for mismatch in mismatches if not is_explained(mismatch))


def _add_epsilon(
    values: Mapping[str, Tensor], wanted: Mapping[str, Tensor], eps: float
) -> dict[str, Tensor]:
    def has_own_epsilon(name: str) -> bool:
        return f"{name.rsplit('.', 1)[0]}.{_COUNTER}" in wanted

    return {
        name: value + eps if name.endswith(".running_var") and not has_own_epsilon(name) else value
        for name, value in values.items()
    }
