import pytest
import torch

from maskrcnn_benchmark.structures.bounding_box import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    FLIP_TOP_BOTTOM,
    BoxList,
    InstanceField,
)
from maskrcnn_benchmark.structures.keypoint import (
    Keypoints,
    PersonKeypoints,
    keypoints_to_heat_map,
)

SIZE_WH = (100, 60)


def make_persons(num_persons=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(num_persons, 17, 3, generator=generator) * torch.tensor([99.0, 59.0, 3.0])
    points[..., 2].floor_()
    points[points[..., 2] == 0] = 0
    return PersonKeypoints(points, SIZE_WH)


def test_flat_lists_as_in_files():
    persons = PersonKeypoints([list(range(51)), [0] * 51], SIZE_WH)
    assert persons.keypoints.shape == (2, 17, 3)
    assert persons.keypoints[0, 1].tolist() == [3, 4, 5]


@pytest.mark.parametrize("empty", [[], torch.zeros(0, 17, 3), torch.zeros(0, 51)])
def test_no_instances(empty):
    persons = PersonKeypoints(empty, SIZE_WH)
    assert persons.keypoints.shape == (0, 17, 3)
    for changed in (
        persons.resize((10, 10)),
        persons.transpose(FLIP_LEFT_RIGHT),
        persons.crop((0, 0, 5, 5)),
        persons[:0],
    ):
        assert changed.keypoints.shape == (0, 17, 3)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"keypoints .*\(K, 17, 3\).*\(2, 5, 3\)"):
        PersonKeypoints(torch.zeros(2, 5, 3), SIZE_WH)
    with pytest.raises(ValueError, match=r"keypoints .*\(K, P, 3\).*\(2, 4\)"):
        Keypoints(torch.zeros(2, 4), SIZE_WH)
    assert Keypoints(torch.zeros(2, 15), SIZE_WH).keypoints.shape == (2, 5, 3)


def test_lengths_lie_half_a_pixel_behind_pixels():
    persons = make_persons()
    lengths = persons.with_pixel_offset(0)
    is_labelled = persons.keypoints[..., 2] > 0
    moved = (lengths.keypoints - persons.keypoints)[is_labelled]
    torch.testing.assert_close(moved, torch.tensor([0.5, 0.5, 0.0]).expand_as(moved))
    assert not lengths.keypoints[~is_labelled].any()
    torch.testing.assert_close(lengths.with_pixel_offset(1).keypoints, persons.keypoints)
    assert persons.with_pixel_offset(1) is persons
    assert lengths.resize((50, 120))[:1].pixel_offset == 0


@pytest.mark.parametrize("method", [FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, FLIP_DIAGONAL])
def test_flips_do_not_depend_on_how_points_are_counted(method):
    persons = make_persons()
    flipped = persons.with_pixel_offset(0).transpose(method).with_pixel_offset(1)
    torch.testing.assert_close(flipped.keypoints, persons.transpose(method).keypoints)


def test_resize_scales_places_but_not_visibility():
    persons = make_persons()
    resized = persons.resize((50, 120))
    factor = torch.tensor([0.5, 2.0, 1.0])
    torch.testing.assert_close(resized.keypoints, persons.keypoints * factor)
    assert resized.size == (50, 120)


def test_left_right_flip_by_hand():
    points = torch.zeros(1, 17, 3)
    points[0, 0] = torch.tensor([10, 5, 2])  # nose
    points[0, 1] = torch.tensor([12, 4, 1])  # left eye; the right one is not annotated
    flipped = PersonKeypoints(points, SIZE_WH).transpose(FLIP_LEFT_RIGHT).keypoints[0]
    assert flipped[0].tolist() == [89, 5, 2]
    assert flipped[2].tolist() == [87, 4, 1]
    assert not flipped[[1, *range(3, 17)]].any()


def test_diagonal_flip_by_hand():
    points = torch.zeros(1, 17, 3)
    points[0, 1] = torch.tensor([12, 4, 1])  # the left eye: a mirror makes it the right one
    flipped = PersonKeypoints(points, SIZE_WH).transpose(FLIP_DIAGONAL)
    assert flipped.size == SIZE_WH[::-1]
    assert flipped.keypoints[0, 2].tolist() == [4, 12, 1]
    assert not flipped.keypoints[0, [0, 1, *range(3, 17)]].any()


@pytest.mark.parametrize("method", [FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, FLIP_DIAGONAL])
def test_two_flips_change_nothing(method):
    persons = make_persons()
    twice = persons.transpose(method).transpose(method)
    torch.testing.assert_close(twice.keypoints, persons.keypoints)


def test_a_flip_exchanges_left_and_right_names():
    names = PersonKeypoints.NAMES
    assert len(names) == 17
    for index, other in enumerate(PersonKeypoints.FLIP_INDS):
        swapped = names[index].replace("left", "tmp").replace("right", "left")
        assert names[other] == swapped.replace("tmp", "right")
    assert PersonKeypoints.FLIP_MAP["left_knee"] == "right_knee"


def test_unknown_flip():
    with pytest.raises(ValueError, match="FLIP_LEFT_RIGHT"):
        make_persons().transpose(7)


def test_skeleton_joins_points_of_one_side_or_mirrored_ones():
    names = PersonKeypoints.NAMES
    assert len(set(PersonKeypoints.CONNECTIONS)) == 17
    for first, second in PersonKeypoints.CONNECTIONS:
        sides = {names[i].split("_")[0] for i in (first, second)} - {"nose"}
        same_part = names[first].split("_")[-1] == names[second].split("_")[-1]
        assert len(sides) == 1 or same_part


def test_crop_moves_points_and_forgets_those_outside():
    points = torch.tensor([[[10.0, 10, 2], [30, 20, 1], [9, 10, 2], [30, 31, 2]]])
    cropped = Keypoints(points, SIZE_WH).crop((10, 10, 40, 30))
    assert cropped.keypoints[0].tolist() == [[0, 0, 2], [20, 10, 1], [0, 0, 0], [0, 0, 0]]
    assert cropped.size == (30, 20)


def test_fields_follow_the_instances():
    persons = make_persons(3)
    persons.add_field("logits", torch.arange(51).reshape(3, 17))
    chosen = persons[torch.tensor([2, 0])].to("cpu")
    assert torch.equal(chosen.keypoints, persons.keypoints[[2, 0]])
    assert chosen.get_field("logits")[:, 0].tolist() == [34, 0]
    assert len(persons[1]) == 1
    with pytest.raises(ValueError, match=r"field .*\b3\b.*\b2\b"):
        persons.add_field("logits", [1, 2])


def test_points_follow_their_boxes():
    persons = make_persons()
    assert isinstance(persons, InstanceField)
    boxes = BoxList([[0, 0, 10, 10], [5, 5, 20, 20]], SIZE_WH)
    boxes.add_field("keypoints", persons)
    flipped = boxes.transpose(FLIP_LEFT_RIGHT).resize((200, 120))[1]
    expected = persons.transpose(FLIP_LEFT_RIGHT).resize((200, 120))[1]
    assert torch.equal(flipped.get_field("keypoints").keypoints, expected.keypoints)


def naive_cell(point, roi, side):
    x, y, visibility = point
    x1, y1, x2, y2 = roi
    column = side - 1 if x == x2 else int((x - x1) * side / (x2 - x1) // 1)
    row = side - 1 if y == y2 else int((y - y1) * side / (y2 - y1) // 1)
    valid = 0 <= column < side and 0 <= row < side and visibility > 0
    return (row * side + column, True) if valid else (0, False)


def test_heat_map_cells_equal_a_loop():
    persons = make_persons(4, seed=2)
    rois = torch.tensor([[10.0, 5, 70, 50], [0, 0, 99, 59], [40, 30, 41, 31], [20, 20, 60, 22]])
    persons.keypoints[1, 3] = torch.tensor([99, 20, 1])  # on an edge
    result = keypoints_to_heat_map(persons.keypoints, rois, 8)
    for k, roi in enumerate(rois.tolist()):
        for p, point in enumerate(persons.keypoints[k].tolist()):
            cell = naive_cell(point, roi, 8)
            assert (result.indices[k, p].item(), result.valid[k, p].item()) == cell
    assert result.valid.any(dim=1).tolist()[:2] == [True, True]


def test_a_roi_without_extent_holds_its_corner_only():
    points = torch.tensor([[[5.0, 5, 2], [6, 5, 2]]])
    result = keypoints_to_heat_map(points, torch.tensor([[5.0, 5, 5, 5]]), 4)
    assert result.valid.tolist() == [[True, False]]
    assert result.indices[0, 0].item() == 15


def test_no_rois_in_heat_maps():
    result = keypoints_to_heat_map(torch.zeros(0, 17, 3), torch.zeros(0, 4), 56)
    assert result.indices.shape == result.valid.shape == (0, 17)
