"""Weights of RetinaMask's released models, whose mask head hangs at the detector itself."""

from collections.abc import Iterable, Mapping

from torch import Tensor

_THEIR_HEAD = "mask."
_OUR_HEAD = "roi_heads.mask."
_PARTS = ("mask.feature_extractor.", "mask.predictor.")


def is_retinamask(names: Iterable[str]) -> bool:
    """Whether names are those of a detector of RetinaMask's authors."""
    return any(name.startswith(_PARTS) for name in names)


def rename_retinamask(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; all but those of the mask head are the same."""
    return {
        name.replace(_THEIR_HEAD, _OUR_HEAD, 1) if name.startswith(_PARTS) else name: value
        for name, value in state_dict.items()
    }
