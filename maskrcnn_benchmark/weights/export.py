"""The body of a detector under the names of a library's classifier: loading one, backwards."""

from collections.abc import Mapping

import torch
from torch import Tensor

from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.weights.imagenet import convert_backbone
from maskrcnn_benchmark.weights.load_report import CheckpointError, summarize

_COUNTER = ".num_batches_tracked"


def export_body(
    body: Mapping[str, Tensor], settings: WeightSettings, network: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of a body under the names of a library's network, without its classifier.

    The network then computes the body's features: the epsilon that frozen batch norms carry in
    their variances is taken out again, and gates that let everything through are left out where the
    network has none. Counters of batches are the network's own. ``body`` has the names inside it,
    ``settings`` are those of its training, ``network`` is a state dict with any values.

    Raises:
        CheckpointError: the network cannot compute the same; the message says why.
    """
    converted = convert_backbone(network)
    # Loading only renames, so a tensor under our name is the network's own, or it was added.
    theirs = {id(tensor): name for name, tensor in network.items()}
    names = {ours: theirs.get(id(tensor)) for ours, tensor in converted.tensors.items()}
    _refuse_other_tensors(body, converted.tensors)
    _refuse_other_strides(settings, converted.settings)
    _refuse_closed_gates(
        {ours: body[ours] for ours, name in names.items() if name is None and ours in body},
        converted.tensors,
    )
    exported = {}
    for ours, name in names.items():
        if name is None:
            continue
        value = body.get(ours, converted.tensors[ours])
        has_epsilon = ours.endswith(".running_var") and f"{_stem(ours)}{_COUNTER}" not in body
        exported[name] = value - converted.bn_eps if has_epsilon else value.clone()
    return exported


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _refuse_other_strides(settings: WeightSettings, wanted: WeightSettings | None) -> None:
    if wanted is None or wanted.stride_in_1x1 is None:
        return
    if settings.stride_in_1x1 != wanted.stride_in_1x1:
        raise CheckpointError(
            f"the body was trained with MODEL.RESNETS.STRIDE_IN_1X1 {settings.stride_in_1x1}; the "
            f"network has its strides where {wanted.stride_in_1x1} puts them: same shapes, other "
            "features"
        )


def _refuse_other_tensors(body: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> None:
    absent = tuple(n for n in network if n not in body and not n.endswith(_COUNTER))
    unknown = tuple(n for n in body if n not in network)
    other = tuple(n for n in network if n in body and body[n].shape != network[n].shape)
    problems = (
        f"the body has no {summarize(absent)}" * bool(absent),
        f"the network has no place for {summarize(unknown)}" * bool(unknown),
        f"other shapes in {summarize(other)}" * bool(other),
    )
    if any(problems):
        raise CheckpointError(f"not the same network: {'; '.join(filter(None, problems))}")


def _refuse_closed_gates(gates: Mapping[str, Tensor], opened: Mapping[str, Tensor]) -> None:
    closed = tuple(name for name, gate in gates.items() if not torch.equal(gate, opened[name]))
    if closed:
        raise CheckpointError(
            "the network ends only the last block of a stage in eSE; the body's other blocks have "
            f"trained ones: {summarize(closed)}"
        )
