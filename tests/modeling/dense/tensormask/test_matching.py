import math

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from maskrcnn_benchmark.config.convention import GridRules
from maskrcnn_benchmark.modeling.dense.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.modeling.dense.tensormask.matching import WindowMatcher

STRIDES, SIDES = (4, 8, 16), (11, 15)


def make_windows(maps_hw):
    generator = AnchorGenerator(
        sizes=[[side * stride for side in SIDES] for stride in STRIDES],
        aspect_ratios=(1.0,),
        strides=STRIDES,
        rules=GridRules(anchors="exact"),
    )
    return generator([torch.zeros(1, 1, *map_hw) for map_hw in maps_hw])


def fits(window, unit, box):
    x1, y1, x2, y2 = box
    holds = window[0] <= x1 and window[1] <= y1 and x2 <= window[2] and y2 <= window[3]
    longest = max(x2 - x1, y2 - y1)
    side = max(window[2] - window[0], window[3] - window[1])
    centers = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in (window, box)]
    is_near = math.dist(*centers) / unit <= 1
    return holds and side - unit <= max(2 * longest, 40) and is_near


def restated(windows, boxes):
    """Number of a window -> of its object, pair by pair."""
    units = [unit for unit, level in zip(STRIDES, windows, strict=True) for _ in level]
    numbered = enumerate(zip(torch.cat(windows).tolist(), units, strict=True))
    claims = {
        number: [n for n, box in enumerate(boxes.tolist()) if fits(window, unit, box)]
        for number, (window, unit) in numbered
    }
    return {number: objects[0] for number, objects in claims.items() if len(objects) == 1}


def draw_boxes(num_boxes, size):
    generator = torch.Generator().manual_seed(1)
    centers = torch.rand(num_boxes, 2, generator=generator) * size
    half = torch.rand(num_boxes, 2, generator=generator) ** 2 * 60
    # Quarters of pixels: some are exactly at a limit.
    return (torch.cat([centers - half, centers + half], dim=1) * 4).round() / 4


@pytest.mark.parametrize("maps_hw", [[(16, 20), (8, 10), (4, 5)], [(1, 1)] * 3])
def test_matches_are_those_of_the_three_rules(maps_hw):
    windows = make_windows(maps_hw)
    boxes = draw_boxes(40, 80)
    found = WindowMatcher(strides=STRIDES, smallest=40)(windows, maps_hw, boxes)
    pairs = dict(zip(found.windows.tolist(), found.objects.tolist(), strict=True))
    assert pairs == restated(windows, boxes)
    assert found.windows.tolist() == sorted(pairs)


def test_two_objects_at_one_place_have_no_window():
    """upstream: two-claims"""
    maps_hw = [(16, 20), (8, 10), (4, 5)]
    windows = make_windows(maps_hw)
    matcher = WindowMatcher(strides=STRIDES, smallest=40)
    box = torch.tensor([[30.0, 30, 42, 42]])
    alone = matcher(windows, maps_hw, box)
    assert len(alone.windows) > 0
    both = matcher(windows, maps_hw, torch.cat([box, box]))
    assert not set(both.windows.tolist()) & set(alone.windows.tolist())


def test_limits_belong_to_the_windows():
    """Corners that are equal are inside, and a centre one stride away is near."""
    maps_hw = [(16, 20), (8, 10), (4, 5)]
    windows = make_windows(maps_hw)
    matcher = WindowMatcher(strides=STRIDES, smallest=40)
    at = torch.tensor([40.0, 40.0, 40.0, 40.0])
    whole = at + torch.tensor([-22.0, -22, 22, 22])
    small = at + torch.tensor([-4.0, -4, 4, 4]) + torch.tensor([4.0, 0, 4, 0])
    of_cell = (10 * 20 + 10) * len(SIDES)
    assert torch.cat(windows)[of_cell].tolist() == whole.tolist()
    for box in (whole, small):
        assert of_cell in matcher(windows, maps_hw, box[None]).windows.tolist()


@pytest.mark.parametrize(("num_boxes", "maps_hw"), [(0, [(4, 4)] * 3), (3, [(0, 0)] * 3)])
def test_nothing_to_match(num_boxes, maps_hw):
    windows = [torch.zeros(h * w * 2, 4) for h, w in maps_hw]
    boxes = draw_boxes(num_boxes, 20)
    found = WindowMatcher(strides=STRIDES, smallest=40)(windows, maps_hw, boxes)
    assert [len(each) for each in found] == [0, 0]
    assert all(each.dtype == torch.int64 for each in found)


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that is made while the block runs."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [one.numel() for one in pytree.tree_leaves(made) if isinstance(one, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return made


def test_no_pairs_are_made_of_far_windows():
    """What is looked at grows with objects and levels, not with both objects and windows."""
    maps_hw = [(600, 600), (300, 300), (150, 150)]
    windows, boxes = make_windows(maps_hw), draw_boxes(2000, 2400)
    with LargestTensor() as largest:
        found = WindowMatcher(strides=STRIDES, smallest=40)(windows, maps_hw, boxes)
    assert len(found.windows) > 0
    assert largest.numbers <= 4 * sum(len(each) for each in windows)
