import torch

from maskrcnn_benchmark.modeling.dense.overlaps import pairwise_iou
from maskrcnn_benchmark.modeling.dense.yolact.anchors import anchor_corners
from maskrcnn_benchmark.modeling.dense.yolact.matching import BACKGROUND, NEUTRAL, YolactMatcher

MATCHER = YolactMatcher(positive_iou=0.5, negative_iou=0.4, crowd_share=0.7)
NO_BOXES = torch.zeros(0, 4)


def squares(*starts, side=0.1):
    """Anchors of one row by their left edges."""
    return torch.tensor([[start + side / 2, side / 2, side, side] for start in starts])


def test_thresholds_by_hand():
    # One object [0, 0.1]; IoUs with anchors at 0, 0.02, 0.04, 0.05: 1, 2/3, 3/7, 1/3.
    anchors = squares(0.0, 0.02, 0.04, 0.05)
    boxes = torch.tensor([[0.0, 0, 0.1, 0.1]])
    found = MATCHER(anchors, boxes, torch.tensor([7]), NO_BOXES)
    assert found.labels.tolist() == [7, 7, NEUTRAL, BACKGROUND]


def test_every_object_gets_an_anchor_of_its_own():
    """Two objects of the same place: the better one takes the anchor, the other the next best."""
    anchors = squares(0.0, 0.5, 0.9)
    boxes = torch.tensor([[0.0, 0, 0.1, 0.09], [0.0, 0, 0.1, 0.1], [0.95, 0, 1.6, 0.1]])
    found = MATCHER(anchors, boxes, torch.tensor([1, 2, 3]), NO_BOXES)
    # Object 1 fits anchor 0 exactly; object 2 reaches anchor 2 best; object 0 is left with 1.
    assert found.labels.tolist() == [2, 1, 3]
    assert found.objects.tolist() == [1, 0, 2]


def restated(anchors, boxes, labels):
    """The rules word by word, in loops."""
    ious = pairwise_iou(boxes, anchor_corners(anchors))
    best, objects = ious.max(dim=0)
    left = ious.clone()
    for _ in range(len(boxes)):
        place = int(left.argmax())
        number, anchor = divmod(place, len(anchors))
        best[anchor], objects[anchor] = 2, number
        left[number], left[:, anchor] = -1, -1
    states = labels[objects].clone()
    states[best < 0.5] = NEUTRAL
    states[best < 0.4] = BACKGROUND
    return states, objects


def test_against_loops():
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        anchors = torch.rand(300, 4, generator=generator) * 0.4 + 0.1
        corners = torch.rand(25, 2, 2, generator=generator)
        boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
        labels = torch.randint(1, 9, (25,), generator=generator)
        states, objects = restated(anchors, boxes, labels)
        found = MATCHER(anchors, boxes, labels, NO_BOXES)
        assert torch.equal(found.labels, states)
        assert torch.equal(found.objects, objects)


def test_background_inside_a_crowd_is_neutral():
    anchors = squares(0.0, 0.3, 0.5)
    # Covers anchor 0, 75 % of anchor 1 and 65 % of anchor 2.
    crowds = torch.tensor([[0.0, 0, 0.1, 0.1], [0.3, 0, 0.375, 0.1], [0.5, 0, 0.565, 0.1]])
    found = MATCHER(anchors, NO_BOXES, torch.zeros(0, dtype=torch.int64), crowds)
    assert found.labels.tolist() == [NEUTRAL, NEUTRAL, BACKGROUND]
    found = MATCHER(anchors, torch.tensor([[0.0, 0, 0.1, 0.1]]), torch.tensor([4]), crowds)
    assert found.labels.tolist() == [4, NEUTRAL, BACKGROUND]


def test_nothing_to_match():
    none = torch.zeros(0, dtype=torch.int64)
    assert MATCHER(squares(0.1), NO_BOXES, none, NO_BOXES).labels.tolist() == [BACKGROUND]
    found = MATCHER(torch.zeros(0, 4), torch.ones(2, 4), torch.tensor([1, 2]), NO_BOXES)
    assert found.labels.shape == (0,)
    found = MATCHER(
        squares(0.0), torch.tensor([[0.0, 0, 1, 1]] * 3), torch.tensor([1, 2, 3]), NO_BOXES
    )
    assert len(found.labels) == 1
