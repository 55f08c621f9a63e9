"""Networks with random weights that are as uneven as trained ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def detector_of(body: nn.Module) -> nn.ModuleDict:
    """A body under the names that it has in a detector, beside something else."""
    backbone = nn.ModuleDict({"body": body, "fpn": nn.Conv2d(1, 1, 1)})
    return nn.ModuleDict({"backbone": backbone}).eval()


def randomize_norms(model: nn.Module) -> nn.Module:
    """The model in double precision with norms as different from 0 and 1 as trained ones are."""
    generator = torch.Generator().manual_seed(0)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        for values, low, high in (
            (norm.weight.data, 0.5, 1.0),
            (norm.bias.data, -0.2, 0.2),
            (norm.running_mean, -0.2, 0.2),
            # Some variances are as small as the epsilon, as those of dead channels are.
            (norm.running_var, 1e-5, 1.0),
        ):
            values.uniform_(low, high, generator=generator)
    return model.eval().double()


def random_images(seed: int = 1) -> Tensor:
    """Two images, (2, 3, 64, 96), in double precision."""
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed)).double()


def assert_same_maps(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Compare maps C2, C3 ... in double precision: each value to 1e-5 of itself or nearly."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert other.dtype == torch.float64
        torch.testing.assert_close(mine / other.std(), other / other.std(), rtol=1e-5, atol=1e-6)
