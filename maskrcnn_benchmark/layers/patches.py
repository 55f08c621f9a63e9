"""Transposed convolutions whose results do not overlap: each cell becomes a patch of its own.

Shapes: N images, C input and O output channels, H x W cells before, each of which becomes P x Q.
"""

from torch import Tensor, nn

_UNIT, _NOTHING = (1, 1), (0, 0)


def makes_patches(conv: nn.ConvTranspose2d) -> bool:
    """Whether the kernel is as large as the stride, and nothing is cut off."""
    return (
        type(conv).forward is nn.ConvTranspose2d.forward
        and (conv.kernel_size, conv.padding, conv.output_padding)
        == (conv.stride, _NOTHING, _NOTHING)
        and (conv.dilation, conv.groups) == (_UNIT, 1)
    )


def cell_conv(conv: nn.ConvTranspose2d) -> nn.Conv2d:
    """The convolution of a cell to the P x Q x O numbers of its patch, in this order.

    Args:
        conv: one that ``makes_patches``; its weights are copied.
    """
    weight = conv.weight.detach()
    num_inputs, num_outputs, height, width = weight.shape
    cells = nn.Conv2d(num_inputs, height * width * num_outputs, 1, bias=conv.bias is not None).to(
        weight
    )
    cells.weight.data = weight.permute(2, 3, 1, 0).reshape(-1, num_inputs, 1, 1)
    if conv.bias is not None and cells.bias is not None:
        cells.bias.data = conv.bias.detach().repeat(height * width)
    return cells


def place_patches(patches: Tensor) -> Tensor:
    """The map (N, P H, Q W, O) of patches (N, H, W, P, Q, O)."""
    num_images, height, width, rows, columns, num_outputs = patches.shape
    return patches.transpose(2, 3).reshape(num_images, height * rows, width * columns, num_outputs)
