"""Many objects on a large image: targets are equal, and no tensor has a number for every pair."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from maskrcnn_benchmark.modeling.dense.anchor_targets import match_anchors
from maskrcnn_benchmark.modeling.dense.fcos.locations import level_locations
from maskrcnn_benchmark.modeling.dense.fcos.targets import FCOSTargetAssigner
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.modeling.dense.fcos.examples import make_assigner

NUM_OBJECTS = 300
STRIDES = (8, 16, 32, 64, 128)
WIDTH, HEIGHT = 1333, 800


class Largest(TorchDispatchMode):
    """Number of entries of the largest tensor that was computed."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        # Expanded views have no memory of their own.
        if "expand" not in func.name():
            self.numel = max(self.numel, *made, 0)
        return result


def make_locations():
    return [
        level_locations((-(-HEIGHT // stride), -(-WIDTH // stride)), stride, 1, torch.device("cpu"))
        for stride in STRIDES
    ]


def make_target(count=NUM_OBJECTS):
    generator = torch.Generator().manual_seed(0)
    sides = 8 + 300 * torch.rand(count, 2, generator=generator) ** 3
    corner = torch.rand(count, 2, generator=generator) * (torch.tensor([WIDTH, HEIGHT]) - sides)
    target = BoxList(torch.cat([corner, corner + sides], dim=1), (WIDTH, HEIGHT))
    target.add_field("labels", torch.randint(1, 81, (count,), generator=generator))
    return target


def make_anchors():
    centers = torch.cat(make_locations())
    half = torch.tensor([[16.0, 16.0], [45.0, 23.0], [91.0, 181.0]])
    corners = torch.cat([centers[:, None] - half, centers[:, None] + half], dim=-1)
    return corners.reshape(-1, 4)


@pytest.mark.parametrize("center_sample", [True, False])
def test_fcos_targets_in_parts_are_those_in_one_go(center_sample):
    settings = make_assigner(center_sample=center_sample).settings
    in_parts, at_once = (
        FCOSTargetAssigner(settings, pairs_at_once=pairs)(make_locations(), [make_target()])
        for pairs in (10**4, 10**9)
    )
    assert torch.equal(in_parts.labels, at_once.labels)
    assert torch.equal(in_parts.ltrb, at_once.ltrb)
    assert (in_parts.labels > 0).sum() > NUM_OBJECTS


def test_memory_of_fcos_targets_does_not_grow_with_the_pairs():
    locations, assigner = make_locations(), make_assigner()
    with Largest() as largest:
        assigner(locations, [make_target()])
    assert largest.numel < NUM_OBJECTS * sum(map(len, locations)) / 5


@pytest.mark.parametrize("low_quality", [True, False])
def test_anchors_matched_in_parts_are_matched_as_in_one_go(low_quality):
    matcher = Matcher(0.7, 0.3, allow_low_quality_matches=low_quality)
    anchors, targets = make_anchors(), [make_target(), make_target(0), make_target(1)]
    at_once = match_anchors(anchors, targets, matcher, pairs_at_once=10**9)
    with Largest() as largest:
        in_parts = match_anchors(anchors, targets, matcher, pairs_at_once=2**16)
    assert all(map(torch.equal, in_parts, at_once))
    assert (at_once[0] >= 0).any()
    assert largest.numel <= max(2**16, anchors.numel())


def test_a_last_part_may_be_empty():
    matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
    parts = (torch.tensor([[0.8, 0.5]]), torch.zeros(1, 0))
    assert matcher.match_parts(lambda: parts).tolist() == [0, -2]
