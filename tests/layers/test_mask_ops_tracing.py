"""torch.compile and torch.export go through the mask operators and the summed focal loss."""

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.layers import SigmoidFocalLoss

OPS = torch.ops.centermask

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class EncodedMasks(nn.Module):
    """Sum of the characters, and where each text begins."""

    def forward(self, masks, boxes):
        characters, offsets = OPS.paste_masks_rle(masks, boxes, 40, 30, 0.5, 1)
        return characters.long().sum(), offsets


class FilledShares(nn.Module):
    """Share of each target that is filled, and the area of its instance."""

    def forward(self, points, polygon_begins, instance_begins, instances, boxes):
        groups = points, polygon_begins, instance_begins, instances
        sizes = torch.full((instances.shape[0], 2), 9)
        areas = OPS.polygon_areas(*groups, boxes[:, :2].contiguous(), sizes)
        return OPS.rasterize_polygons(*groups, boxes, 7).float().mean(dim=(1, 2)), areas


def inputs(module, count):
    generator = torch.Generator().manual_seed(count)
    boxes = torch.rand(count, 4, generator=generator) * 30
    if isinstance(module, EncodedMasks):
        return torch.rand(count, 9, 9, generator=generator), boxes
    begins = torch.tensor([0, 3, 8]), torch.tensor([0, 2])
    points = torch.rand(8, 2, generator=generator) * 30
    return points, *begins, torch.zeros(count, dtype=torch.int64), boxes


@pytest.mark.parametrize("module", [EncodedMasks(), FilledShares()], ids=["paste", "polygons"])
def test_compile_and_export(module):
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (3, 5):
        expected = module(*inputs(module, count))
        assert all(map(torch.equal, compiled(*inputs(module, count)), expected))
    exported = torch.export.export(module, inputs(module, 5)).module()
    assert all(map(torch.equal, exported(*inputs(module, 5)), expected))


def test_compiled_focal_loss():
    loss = SigmoidFocalLoss(2.0, 0.25)
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (3, 5):
        logits = torch.linspace(-3, 3, 4 * count).reshape(count, 4).requires_grad_()
        targets = torch.arange(count) - 1
        gradients = [
            torch.autograd.grad(3 * each(logits, targets), logits)[0] for each in (loss, compiled)
        ]
        torch.testing.assert_close(*gradients)
