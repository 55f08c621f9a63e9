import numpy as np
import pytest
import torch

from maskrcnn_benchmark.modeling.dense.fcos.locations import level_locations
from maskrcnn_benchmark.modeling.dense.fcos.targets import (
    FCOSTargetAssigner,
    FCOSTargetSettings,
    compute_centerness_targets,
    first_argmin,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.golden_data import golden_npz
from tests.modeling.dense.fcos.examples import (
    golden_locations,
    golden_targets,
    image_by_image,
    make_assigner,
)


def one_level(boxes, labels, *, hw=(4, 4), **options):
    """Targets on one 8 px level that takes boxes of every size."""
    settings = FCOSTargetSettings((8,), ((-1.0, 1e8),), **options)
    target = BoxList(torch.tensor(boxes).reshape(-1, 4), (hw[1] * 8, hw[0] * 8))
    target.add_field("labels", torch.tensor(labels, dtype=torch.int64))
    locations = [level_locations(hw, 8, 1, torch.device("cpu"))]
    return FCOSTargetAssigner(settings)(locations, [target])


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["inside", "center"])
def test_targets_equal_the_original_ones(kind):
    data = golden_npz("ops")
    assigner = make_assigner(center_sample=kind == "center")
    locations = golden_locations()
    labels, ltrb = (
        image_by_image(values, locations, 2) for values in assigner(locations, golden_targets())
    )
    np.testing.assert_array_equal(labels.numpy(), data[f"fcos_{kind}_labels"])
    positives = ltrb[labels > 0]
    np.testing.assert_array_equal(positives.numpy(), data[f"fcos_{kind}_reg"])
    centerness = compute_centerness_targets(positives)
    np.testing.assert_allclose(centerness.numpy(), data[f"fcos_{kind}_ctr"], rtol=1e-6)


def test_box_over_four_cells_by_hand():
    labels, ltrb = one_level([[0.0, 0.0, 16.0, 16.0]], [7])
    expected = torch.zeros(4, 4, dtype=torch.int64)
    expected[:2, :2] = 7
    assert torch.equal(labels.reshape(4, 4), expected)
    assert ltrb.reshape(4, 4, 4)[0, 1].tolist() == [12.0, 4.0, 4.0, 12.0]


def test_a_location_on_the_border_is_outside():
    labels, _ = one_level([[4.0, 4.0, 20.0, 20.0]], [1])
    assert labels.reshape(4, 4).nonzero().tolist() == [[1, 1]]


def test_the_smallest_box_wins_and_the_first_of_equal_ones():
    boxes = [[0.0, 0.0, 31.0, 31.0], [0.0, 0.0, 15.0, 15.0], [0.0, 0.0, 15.0, 15.0]]
    labels, _ = one_level(boxes, [3, 5, 6])
    assert labels.reshape(4, 4)[0].tolist() == [5, 5, 3, 3]


def test_center_sampling_keeps_the_centre_square():
    labels, _ = one_level([[0.0, 0.0, 32.0, 32.0]], [1], center_sample=True, radius=1.0)
    expected = torch.zeros(4, 4, dtype=torch.int64)
    expected[1:3, 1:3] = 1
    assert torch.equal(labels.reshape(4, 4), expected)


def test_size_ranges_include_both_ends():
    settings = FCOSTargetSettings((8, 16), ((-1.0, 12.0), (12.0, 1e8)))
    target = BoxList(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), (32, 32))
    target.add_field("labels", torch.tensor([1]))
    cpu = torch.device("cpu")
    locations = [level_locations((4, 4), 8, 1, cpu), level_locations((2, 2), 16, 1, cpu)]
    labels, ltrb = FCOSTargetAssigner(settings)(locations, [target])
    assert ltrb[0].max() == 12
    assert labels[:16].reshape(4, 4)[:2, :2].tolist() == [[1, 1], [1, 1]]
    assert labels[16:].tolist() == [0, 0, 0, 0]  # its only location has max 8


def test_no_boxes_make_background():
    labels, ltrb = one_level([], [])
    assert labels.shape == (16,)
    assert labels.sum() == 0
    assert torch.isfinite(ltrb).all()


def test_permuting_boxes_of_different_areas_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(9, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 4 + torch.rand(9, 2, generator=generator) * 20], dim=1)
    labels = torch.arange(1, 10)
    order = torch.randperm(9, generator=generator)
    first = one_level(boxes.tolist(), labels.tolist())
    second = one_level(boxes[order].tolist(), labels[order].tolist())
    assert torch.equal(first.labels, second.labels)
    positive = first.labels > 0
    assert torch.equal(first.ltrb[positive], second.ltrb[positive])


def test_batch_of_two_equals_two_singles():
    locations, targets = golden_locations(), golden_targets()
    both = [image_by_image(values, locations, 2) for values in make_assigner()(locations, targets)]
    for image, target in enumerate(targets):
        for together, single in zip(both, make_assigner()(locations, [target]), strict=True):
            assert torch.equal(together[image], single)


def test_centerness_of_hand_computed_distances():
    ltrb = torch.tensor([[2.0, 3.0, 2.0, 3.0], [1.0, 1.0, 4.0, 4.0], [1.0, 2.0, 9.0, 8.0]])
    expected = torch.tensor([1.0, 0.25, (1 / 9 * 1 / 4) ** 0.5])
    torch.testing.assert_close(compute_centerness_targets(ltrb), expected)


def test_centerness_of_nothing_is_empty():
    assert compute_centerness_targets(torch.zeros(0, 4)).shape == (0,)


def test_first_argmin_takes_the_first_of_ties():
    values = torch.tensor([[3.0, 1.0, 1.0], [2.0, 2.0, 2.0], [float("inf")] * 3])
    smallest, index = first_argmin(values)
    assert smallest.tolist() == [1.0, 2.0, float("inf")]
    assert index.tolist() == [1, 0, 0]
