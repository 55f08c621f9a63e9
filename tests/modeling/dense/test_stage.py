"""What all dense detectors do alike."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.dense.stage import DenseStage
from maskrcnn_benchmark.structures.image_list import ImageList
from tests.factories import random_boxlist

FAMILIES = {
    "fcos": ("MODEL.RPN_ONLY", True, "MODEL.FCOS.NUM_CONVS", 1, "MODEL.FCOS.INFERENCE_TH", 0.0),
    "retinanet": (
        *("MODEL.RETINANET_ON", True, "MODEL.RETINANET.NUM_CONVS", 1),
        *("MODEL.RETINANET.INFERENCE_TH", 0.0),
    ),
    "rpn": ("MODEL.RPN.USE_FPN", True, "MODEL.RPN.ANCHOR_STRIDE", (8, 16, 32, 64, 128)),
}


class Rounded(nn.Module):
    """A head whose predictions went through a number of 16 bits."""

    def __init__(self, head, dtype, *, back):
        super().__init__()
        self.head = head
        self.dtype = dtype
        self.back = back

    def forward(self, features):
        rounded = [[level.to(self.dtype) for level in field] for field in self.head(features)]
        return [[level.float() for level in field] for field in rounded] if self.back else rounded


def make_stage(family):
    cfg = get_default_config()
    cfg.merge_from_list([*FAMILIES[family], "MODEL.MASK_ON", True, "MODEL.NUM_CLASSES", 4])
    torch.manual_seed(0)
    return build_rpn(cfg, in_channels=32)


def make_batch():
    generator = torch.Generator().manual_seed(0)
    images = ImageList(torch.zeros(2, 3, 96, 128), [(90, 120), (90, 120)])
    sizes = [(-(-96 // s), -(-128 // s)) for s in (8, 16, 32, 64, 128)]
    features = [torch.randn(2, 32, *hw, generator=generator) for hw in sizes]
    return images, features, [random_boxlist(3, seed=1), random_boxlist(0)]


def run(stage):
    """The losses of a training pass and the boxes of an evaluation."""
    images, features, targets = make_batch()
    torch.manual_seed(0)
    losses = stage.train()(images, features, targets).losses
    with torch.no_grad():
        return losses, stage.eval()(images, features).boxes


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_follows_the_head_never_sees_half_precision(family, dtype):
    results = []
    for back in (False, True):
        stage = make_stage(family)
        stage.head = Rounded(stage.head, dtype, back=back)
        results.append(run(stage))
    (half_losses, half_boxes), (losses, boxes) = results
    assert half_losses == losses
    assert all(loss.dtype == torch.float32 for loss in half_losses.values())
    for ours, expected in zip(half_boxes, boxes, strict=True):
        assert len(ours) > 0
        assert torch.equal(ours.bbox, expected.bbox)
        for field in expected.fields():
            assert torch.equal(ours.get_field(field), expected.get_field(field))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_pass_without_targets_gives_what_an_evaluation_gives(family):
    images, features, _ = make_batch()
    stage = make_stage(family)
    output = stage.train()(images, features)
    assert output.losses == {}
    expected = stage.eval()(images, features).boxes
    for ours, theirs in zip(output.boxes, expected, strict=True):
        assert torch.equal(ours.bbox, theirs.bbox)


class Parts(NamedTuple):
    levels: list[Tensor]
    shared: Tensor


class TwoParts(nn.Module):
    def forward(self, features):
        return [feature.double() for feature in features], features[0].half()


def test_an_output_may_be_one_tensor_for_all_levels_and_float64_stays():
    seen = []

    def select(outputs, points, image_sizes):
        seen.append((outputs, points, image_sizes))
        return []

    stage = DenseStage(
        head=TwoParts(),
        outputs=Parts,
        points=lambda features: [feature[0, 0] for feature in features],
        loss=lambda outputs, points, targets: {"loss": outputs.shared.sum()},
        select_train=None,
        select_test=select,
    )
    images = ImageList(torch.zeros(1, 3, 4, 4), [(3, 4)])
    features = [torch.ones(1, 2, 2, 2), torch.ones(1, 2, 1, 1)]
    assert stage.eval()(images, features) == ([], {})
    ((outputs, points, image_sizes),) = seen
    assert type(outputs) is Parts
    assert [level.dtype for level in outputs.levels] == [torch.float64] * 2
    assert outputs.shared.dtype == torch.float32
    assert [len(level) for level in points] == [2, 1]
    assert image_sizes == [(3, 4)]
    losses = stage.train()(images, features, [random_boxlist(1)]).losses
    assert losses["loss"].item() == 8
