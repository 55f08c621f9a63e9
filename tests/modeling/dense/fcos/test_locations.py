import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.config.convention import GridRules
from maskrcnn_benchmark.modeling.dense.fcos.locations import (
    check_dense_points,
    compute_locations,
    level_locations,
)
from tests.golden_data import golden_npz

CPU = torch.device("cpu")


def test_locations_by_hand():
    expected = [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert level_locations((2, 3), 8, 1, CPU).tolist() == expected


@pytest.mark.golden
def test_locations_equal_the_original_ones():
    data = golden_npz("ops")
    features = [torch.zeros(1, 1, h, w) for h, w in data["fcos_level_sizes"]]
    locations = torch.cat(compute_locations(features, (8, 16, 32, 64, 128), 1))
    np.testing.assert_array_equal(locations.numpy(), data["fcos_locations"])


def test_four_points_lie_a_quarter_stride_around_the_centre():
    points = level_locations((1, 2), 8, 4, CPU)
    assert points[:4].tolist() == [[2, 2], [6, 2], [2, 6], [6, 6]]
    assert points[4:].tolist() == [[10, 2], [14, 2], [10, 6], [14, 6]]


def test_five_points_have_the_centre_in_the_middle():
    points = level_locations((1, 1), 16, 5, CPU)
    assert points.tolist() == [[4, 4], [12, 4], [8, 8], [4, 12], [12, 12]]
    assert points.mean(dim=0).tolist() == [8, 8]


def test_no_cells_no_locations():
    assert level_locations((0, 3), 8, 1, CPU).shape == (0, 2)


def test_unknown_number_of_points_is_named():
    with pytest.raises(ConfigError, match=r"DENSE_POINTS.*\[1, 4, 5\].*got 2"):
        check_dense_points(2)


def test_levels_and_strides_must_agree():
    with pytest.raises(ConfigError, match=r"FPN_STRIDES.*\b1\b.*got 2"):
        compute_locations([torch.zeros(1, 1, 2, 2)], (8, 16), 1)


def test_locations_may_lie_at_first_corners_and_share_the_image():
    features = [torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 2, 2)]
    rules = GridRules(pitch="image", centred=False)
    fine, coarse = compute_locations(features, (8, 16), 1, rules)
    assert fine[-1].tolist() == [24, 16]
    assert coarse.tolist() == [[0, 0], [16, 0], [0, 12], [16, 12]]
