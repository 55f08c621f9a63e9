"""The caches of torchvision and timm, filled so that their own code finds files there."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch
import torchvision
from torch import Tensor


def fill_torchvision(folder: Path, model: str, version: str, state_dict: Mapping[str, Tensor]):
    """Put a state dict where torchvision keeps the downloaded weights of a model.

    Args:
        folder: value of TORCH_HOME.
        model: name of the model.
        version: name of its weights.
        state_dict: what the file holds.
    """
    weights = torchvision.models.get_model_weights(model)[version]
    path = folder / "hub" / "checkpoints" / Path(urlparse(weights.url).path).name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict), path)


def fill_timm(
    folder: Path, model: str, state_dict: Mapping[str, Tensor], monkeypatch: pytest.MonkeyPatch
):
    """Put a state dict where the hub keeps timm's downloaded weights, and cut the connection.

    Args:
        folder: of the cache.
        model: name with its tag, e.g. ``"ese_vovnet39b.ra_in1k"``.
        state_dict: what the file holds.
        monkeypatch: sets the cache for one test.
    """
    from safetensors.torch import save_file

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    revision = "0" * 40
    repository = folder / f"models--timm--{model}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    save_file(dict(state_dict), snapshot / "model.safetensors")
