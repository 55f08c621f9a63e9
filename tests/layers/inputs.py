"""Inputs that the tests of several operators share, and both ways to compute an operator."""

import torch

from tests.layers.op_cases import conv_tower, deform_psroi_pooling
from tests.layers.twins import TWINS

OPS = torch.ops.centermask
# Of ``random_deformation``.
GEOMETRY = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}


def implementations(name):
    """The operator as it is called, with kernels where they are compiled, and its plain twin."""
    return {"dispatched": getattr(OPS, name), "reference": getattr(TWINS, name)}


def random_boxes(count, seed=0, spread=100.0):
    """Boxes with corners in a square of ``spread`` px and sides up to 40, scores, labels 1..5."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * spread
    sides = torch.rand(count, 2, generator=generator) * 40
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(1, 6, (count,), generator=generator)
    return torch.cat((corners, corners + sides), dim=1), scores, labels


def random_rois(num_channels=5, num_rois=9, dtype=torch.float64, seed=0):
    """A batch of two small maps at stride 4, rois inside, across and beyond the border."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, num_channels, 9, 13, generator=generator, dtype=dtype)
    corners = torch.rand(num_rois, 4, generator=generator, dtype=dtype) * 80 - 15
    x1y1, x2y2 = torch.minimum(corners[:, :2], corners[:, 2:]), corners.view(-1, 2, 2).amax(1)
    images = torch.randint(0, 2, (num_rois, 1), generator=generator).to(dtype)
    return features, torch.cat((images, x1y1, x2y2), dim=1)


def random_deformation(
    *, channels=4, outputs=6, kernel=(3, 2), groups=1, deformable_groups=1, seed=0
):
    """Input, offset, mask, weight for stride (2, 1), padding (1, 2), dilation (1, 2)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    features, weight = draw(2, channels, 7, 6), draw(outputs, channels // groups, *kernel)
    output_hw = ((7 + 2 - (kernel[0] - 1) - 1) // 2 + 1, 6 + 4 - 2 * (kernel[1] - 1))
    maps = deformable_groups * kernel[0] * kernel[1]
    offset = 2 * draw(2, 2 * maps, *output_hw)
    return features, offset, draw(2, maps, *output_hw), weight


def _inference_inputs(maps):
    layouts = ((torch.channels_last, True), (torch.contiguous_format, False))
    towers = [conv_tower.call([(2, 3), (1, 1)]), conv_tower.call([(4, 5)], normed=False)]
    return {
        "conv_tower": [*towers, conv_tower.integer_call([(3, 2)]), conv_tower.call([(2, 2)], n=0)],
        "group_norm_relu": [
            (maps.to(memory_format=layout), 2, *torch.rand(2, 2).to(maps), 1e-5, relu)
            for layout, relu in layouts
        ],
        "inverted_residual": [
            (few.float(), expansion, torch.rand(160), torch.rand(17 * 16), 3, 2, False, 6.0)
            for few in (maps, maps[:0])
            for expansion in (torch.rand((1 + maps.shape[1]) * 16), None)
        ],
        "inverted_residual_int16": [
            (
                few.float(),
                torch.randint(-99, 99, (16 * 2 * -(-maps.shape[1] // 2),)).short(),
                torch.zeros(24 * 16).short(),
                torch.randint(-99, 99, (16 * 16,)).short(),
                *(torch.rand(4 * 16 + 2 * 16), 3, 2, False),
            )
            for few in (maps, maps[:0])
        ],
        "scores_above": [(maps, 2, 0.4), (maps[:0], 2, 0.4)],
        "pointwise_conv_int16": [
            (
                few.float(),
                torch.randint(-9999, 9999, (16 * 2 * -(-maps.shape[1] // 2),)).short(),
                *(torch.rand(16) / 1e6, torch.rand(3), None, 1, 0.0, 6.0),
            )
            for few in (maps, maps[:0])
        ],
        "winograd_conv3x3": [
            (few.float(), torch.rand(36 * maps.shape[1] * 16), torch.rand(3), 1, True)
            for few in (maps, maps[:0])
        ],
        "winograd_pack": [(torch.rand(5, 3, 3, 3), False), (torch.rand(5, 3, 3, 3), True)],
        "winograd_conv3x3_weight_grad": [
            (torch.rand(len(few), 3, *few.shape[2:]), few.float(), 1) for few in (maps, maps[:0])
        ],
        "winograd_conv3x3_int16": [
            (
                few.float(),
                torch.randint(-9999, 9999, (36 * 16 * 2 * -(-maps.shape[1] // 2),)).short(),
                *(torch.rand(36 * 16) / 1e6, torch.rand(3), 1, True),
            )
            for few in (maps, maps[:0])
        ],
    }


# Arguments of one call or more of every operator, with and without gradients.
def example_inputs():
    boxes, _, labels = random_boxes(20)
    features, rois = random_rois(num_channels=3, num_rois=4)
    pooled, shape = torch.randn(4, 3, 2, 2, dtype=torch.float64), (0.25, 2, 3)
    argmax = OPS.roi_pool(features, rois, 0.25, 2, 2)[1]
    logits, targets = torch.randn(6, 4, dtype=torch.float64), torch.tensor([-1, 0, 1, 2, 3, 4])
    maps, offset, mask, weight = random_deformation(channels=2, outputs=2, kernel=(2, 2))
    deform = (maps, offset, mask, weight, *GEOMETRY.values())
    points, begins = torch.rand(8, 2) * 9, torch.tensor([0, 3, 8])
    groups = (points, begins, torch.tensor([0, 2]), torch.tensor([0, 0, 0]))
    parts = deform_psroi_pooling.call(torch.float64, 3)
    return _inference_inputs(maps) | {
        "deform_conv": [
            (*(x.clone().requires_grad_() for x in deform[:4]), *deform[4:]),
            (maps.clone().requires_grad_(), offset, None, *deform[3:]),
            (maps[:0], offset[:0], mask[:0], *deform[3:]),
        ],
        "deform_conv_backward": [(torch.ones_like(OPS.deform_conv(*deform)), *deform)],
        "deform_psroi_pooling": [
            (*parts[:2], parts[2].clone().requires_grad_(), *parts[3:]),
            (parts[0].clone().requires_grad_(), parts[1], None, *parts[3:]),
        ],
        "deform_psroi_pooling_backward": [(OPS.deform_psroi_pooling(*parts).cos(), *parts)],
        "nms_keep": [(boxes, None, 0.5), (boxes, labels, 0.5), (boxes[:0], None, 0.5)],
        "paste_masks_rle": [
            (torch.rand(20, 5, 5), boxes.float(), 40, 30, 0.5, 1),
            (torch.rand(0, 5, 5), boxes[:0].float(), 40, 30, 0.5, 1),
        ],
        "polygon_areas": [(*groups, torch.zeros(3, 2), torch.full((3, 2), 9))],
        "rasterize_polygons": [(*groups, torch.rand(3, 4) * 9, 7)],
        "roi_align": [
            (features.clone().requires_grad_(), *rest)
            for rest in ((rois, *shape, 2), (rois[:0], *shape, 0), (rois, *shape, 0, True))
        ],
        "roi_align_backward": [
            (pooled.clone().requires_grad_(), rois, 0.25, 2, 3, 9, 13, 2, *aligned)
            for aligned in ((), (True,))
        ],
        "roi_pool": [
            (features.clone().requires_grad_(), rois, 0.25, 2, 2),
            (features.clone().requires_grad_(), rois[:0], 0.25, 2, 3),
        ],
        "roi_pool_backward": [
            (pooled.clone().requires_grad_(), rois, argmax, 2, 9, 13),
            (pooled[:0], rois[:0], argmax[:0], 0, 9, 13),
        ],
        "sigmoid_focal_loss": [(logits.clone().requires_grad_(), targets, 2.0, 0.25)],
        "sigmoid_focal_loss_sum": [(logits.clone().requires_grad_(), targets, 2.0, 0.25)],
        "sigmoid_focal_loss_backward": [(logits.clone(), logits, targets, 2.0, 0.25)],
    }
