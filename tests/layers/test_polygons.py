"""Polygons as masks and areas: equal to pycocotools, bit for bit."""

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_benchmark.layers import (
    PolygonGroups,
    ops_status,
    polygon_areas,
    rasterize_polygons,
)
from tests.layers.inputs import implementations

OPS = torch.ops.centermask
RASTERIZE, AREAS = implementations("rasterize_polygons"), implementations("polygon_areas")
SQUARE = [[2.0, 1.0], [4.0, 1.0], [4.0, 4.0], [2.0, 4.0]]
BOW_TIE = [[0.0, 0.0], [8.0, 8.0], [8.0, 0.0], [0.0, 8.0]]
NAN = float("nan")


def grouped(instances):
    """PolygonGroups of instances, each a list of polygons, each a list of x, y."""
    polygons = [polygon for instance in instances for polygon in instance]
    points = torch.tensor([point for polygon in polygons for point in polygon])
    lengths = [[len(polygon) for polygon in polygons], [len(instance) for instance in instances]]
    begins = [torch.tensor([0, *each]).cumsum(0) for each in lengths]
    return PolygonGroups(points.reshape(-1, 2).float(), *begins)


def one_by_one(instances, members, boxes, side):
    """Oracle: crop, scale, rasterise and merge one after the other."""
    masks = np.zeros((len(members), side, side), dtype=bool)
    for mask, member, box in zip(masks, members, boxes.numpy(), strict=True):
        scale = np.float32(side) / np.maximum(box[2:] - box[:2], np.float32(1))
        flat = [
            ((np.array(polygon, dtype=np.float32) - box[:2]) * scale).ravel()
            for polygon in instances[member]
        ]
        if flat:
            rle = mask_utils.merge(mask_utils.frPyObjects(flat, side, side))
            mask[:] = mask_utils.decode(rle)
    return torch.from_numpy(masks)


@pytest.mark.parametrize("operator", RASTERIZE.values(), ids=RASTERIZE)
def test_a_square_by_hand(operator):
    groups = grouped([[SQUARE]])
    boxes = torch.tensor([[0.0, 1.0, 6.0, 7.0], [2.0, 1.0, 5.0, 4.0]])
    masks = operator(*groups, torch.tensor([0, 0]), boxes, 3)
    assert masks.dtype == torch.bool
    # A target pixel is 2 px of the first box: the square is in column 1 and rows 0 to 1.5.
    assert masks[0].int().tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert masks[1].int().tolist() == [[1, 1, 0]] * 3


@pytest.mark.parametrize("operator", AREAS.values(), ids=AREAS)
def test_areas_by_hand(operator):
    far = [[x + 6, y] for x, y in SQUARE]
    groups = grouped([[SQUARE], [SQUARE, far, SQUARE], [], [BOW_TIE]])
    sizes = torch.tensor([[9, 9], [9, 9], [9, 9], [8, 8], [2, 3]])
    members = torch.tensor([0, 1, 2, 3, 0])
    origins = torch.zeros(5, 2)
    # The bow tie is two triangles of a quarter of 64 px each.
    assert operator(*groups, members, origins, sizes).tolist() == [6, 9, 0, 32, 1]


coordinates = st.one_of(
    st.integers(-10, 40).map(float),
    st.integers(-100, 400).map(lambda number: number / 10),
    st.floats(-50, 100, width=32),
    st.floats(-2000, 2000, width=32),
)
points = st.tuples(coordinates, coordinates)


@st.composite
def polygons(draw):
    """Polygons, some of which stand still or turn back."""
    drawn = draw(st.lists(points, min_size=3, max_size=7))
    if draw(st.booleans()):
        drawn.insert(draw(st.integers(0, len(drawn))), draw(st.sampled_from(drawn)))
    return drawn


@st.composite
def cases(draw):
    instances = draw(st.lists(st.lists(polygons(), max_size=3), min_size=1, max_size=3))
    members = draw(st.lists(st.integers(0, len(instances) - 1), max_size=4))
    boxes = [[draw(coordinates) for _ in range(4)] for _ in members]
    return instances, members, torch.tensor(boxes).reshape(-1, 4), draw(st.integers(1, 30))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(cases())
def test_any_polygons_in_any_boxes(case):
    instances, members, boxes, side = case
    groups, expected = grouped(instances), one_by_one(*case)
    indices = torch.tensor(members).long()
    for operator in RASTERIZE.values():
        assert torch.equal(operator(*groups, indices, boxes, side), expected)
    sizes = torch.stack([boxes[:, 2].abs(), boxes[:, 3].abs()], dim=1).long().clamp(1, 60)
    origins = boxes[:, :2].contiguous()
    areas = AREAS["dispatched"](*groups, indices, origins, sizes)
    assert torch.equal(areas, AREAS["reference"](*groups, indices, origins, sizes))


def test_areas_are_counts_of_masks():
    generator = torch.Generator().manual_seed(0)
    instances = [[torch.rand(9, 2, generator=generator).mul(50).tolist()] * 2 for _ in range(5)]
    groups, members = grouped(instances), torch.arange(5)
    masks = rasterize_polygons(groups, members, torch.tensor([[0.0, 0, 40, 40]] * 5), 40)
    areas = polygon_areas(groups, members, torch.zeros(5, 2), torch.full((5, 2), 40))
    assert areas.tolist() == masks.sum(dim=(1, 2)).tolist()
    assert areas.min() > 0


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
def test_edges_may_be_very_long():
    """An edge costs what its crossings cost, not its length; so far out pycocotools gives up."""
    square = [[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]]
    masks = rasterize_polygons(
        grouped([[square], [[[1e9, 1e9], [3e38, 1e9], [3e38, -3e38]]]]),
        torch.tensor([0, 1]),
        torch.tensor([[0.0, 0, 9, 9], [0, 0, 1, 1]]),
        9,
    )
    assert masks[0].all()
    assert not masks[1].any()


def test_threads_change_nothing():
    generator = torch.Generator().manual_seed(1)
    groups = grouped(torch.rand(6, 2, 5, 2, generator=generator).mul(60).tolist())
    members = torch.randint(0, 6, (300,), generator=generator)
    boxes = torch.rand(300, 4, generator=generator) * 60
    threads, masks = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            masks.append(rasterize_polygons(groups, members, boxes, 28))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*masks)
    assert masks[0].any()


def test_nothing_to_draw():
    for instances in ([], [[]]):
        groups, none = grouped(instances), torch.zeros(0, dtype=torch.int32)
        assert rasterize_polygons(groups, none, torch.zeros(0, 4), 28).shape == (0, 28, 28)
        assert polygon_areas(groups, none, torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)


def test_boxes_of_other_types_and_strides():
    groups, members = grouped([[BOW_TIE]]), torch.zeros(2, dtype=torch.int32)
    boxes = torch.tensor([[0.0, 0, 8, 8], [1, 1, 7, 5]])
    expected = one_by_one([[BOW_TIE]], [0, 0], boxes, 14)
    slanted = boxes.double().t().contiguous().t().requires_grad_()
    assert torch.equal(rasterize_polygons(groups, members, slanted, 14), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instances": torch.tensor([1])}, r"instances: .*\[0, 1\), got 1"),
        ({"instances": torch.tensor([-1])}, r"instances: .*\[0, 1\), got -1"),
        ({"points": torch.full((4, 2), NAN)}, r"\bpoints: "),
        ({"boxes": torch.full((1, 4), NAN)}, r"\bboxes: "),
        ({"polygon_begins": torch.tensor([0, 3])}, r"\bpolygon_begins: .*4"),
        ({"polygon_begins": torch.tensor([0, 5, 4])}, r"\bpolygon_begins: "),
        ({"instance_begins": torch.zeros(0).long()}, r"\binstance_begins: "),
        ({"side": 0}, r"\bside: "),
    ],
)
def test_wrong_values_are_named(change, message):
    sound = {
        **grouped([[SQUARE]])._asdict(),
        "instances": torch.tensor([0]),
        "boxes": torch.tensor([[0.0, 0, 6, 6]]),
        "side": 3,
    }
    for operator in RASTERIZE.values():
        with pytest.raises((RuntimeError, ValueError), match=message):
            operator(**{**sound, **change})


def test_shapes_that_do_not_fit_are_refused():
    groups, members = grouped([[SQUARE]]), torch.tensor([0])
    with pytest.raises(ValueError, match=r"boxes: .*\(1, 4\).*\(2, 4\)"):
        rasterize_polygons(groups, members, torch.zeros(2, 4), 3)
    with pytest.raises(ValueError, match=r"sizes_hw: .*\(1, 2\).*\(1,\)"):
        polygon_areas(groups, members, torch.zeros(1, 2), torch.ones(1))


@pytest.mark.parametrize("operator", RASTERIZE.values(), ids=RASTERIZE)
def test_points_may_belong_to_a_graph(operator):
    groups, box = grouped([[SQUARE]]), torch.tensor([[0.0, 0, 6, 6]])
    attached = groups._replace(points=groups.points.requires_grad_())
    masks = operator(*attached, torch.tensor([0]), box.requires_grad_(), 6)
    assert masks.sum() == 6
