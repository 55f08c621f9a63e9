"""Linear layers by the processor's own library, for evaluation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FusedLinear(nn.Module):
    """A linear layer that computes in a type of its own.

    On a CPU with oneDNN that library computes it, with weights in the order that it likes best: in
    float32 twice as fast as PyTorch's product of matrices on some processors.

    Args:
        linear: its weights.
        dtype: what it computes in and returns, float32 or bfloat16, whatever comes in.
    """

    def __init__(self, linear: nn.Linear, *, dtype: torch.dtype) -> None:
        super().__init__()
        weight = linear.weight.detach().to(dtype)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.dtype = dtype
        self.is_packed = (
            torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            and weight.device.type == "cpu"
            and weight.numel() > 0
        )
        if self.is_packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.weight = weight

    def unpack(self) -> None:
        """Keep the weights in plain order: compilers cannot read those of the processor."""
        if self.is_packed:
            self.weight = self.weight.to_dense()
        self.is_packed = False

    def forward(self, x: Tensor) -> Tensor:
        """(..., O) of (..., C)."""
        x = x.to(self.dtype)
        if not self.is_packed:
            return F.linear(x, self.weight, self.bias)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return y
