import copy
import pickle

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.config.convention import GridRules
from maskrcnn_benchmark.modeling.dense.anchor_generator import (
    AnchorGenerator,
    is_inside,
    make_anchor_generator,
    make_anchor_generator_retinanet,
    make_cell_anchors,
    make_exact_anchors,
    make_whole_anchors,
)
from tests.golden_data import golden_npz

PADDED_HW = (96, 160)
IMAGE_HW = (90, 150)


def make_config(*options):
    cfg = get_default_config()
    cfg.merge_from_list(list(options))
    return cfg


def make_features(strides):
    return [
        torch.zeros(2, 1, -(-PADDED_HW[0] // stride), -(-PADDED_HW[1] // stride))
        for stride in strides
    ]


def test_a_cell_by_hand():
    # 16 px: the square of the cell. 32 px of ratio 1 is twice as wide around the centre 7.5.
    # Ratio 0.5: sqrt(256 / 0.5) = 22.6 is rounded to 23, 23 * 0.5 = 11.5 to 12 (to even).
    assert make_cell_anchors(16, [16, 32], [1.0, 0.5]).tolist() == [
        [0, 0, 15, 15],
        [-8, -8, 23, 23],
        [7.5 - 11, 7.5 - 5.5, 7.5 + 11, 7.5 + 5.5],
        [7.5 - 22.5, 7.5 - 11.5, 7.5 + 22.5, 7.5 + 11.5],
    ]


def test_anchors_of_a_map_run_over_rows_then_columns_then_a_cell():
    generator = AnchorGenerator(sizes=[[4, 8]], aspect_ratios=[1.0], strides=[4])
    (anchors,) = generator([torch.zeros(1, 7, 2, 3)])
    first = torch.tensor([[0.0, 0, 3, 3], [-2, -2, 5, 5]])
    expected = [
        first + torch.tensor([4.0 * x, 4 * y, 4 * x, 4 * y]) for y in range(2) for x in range(3)
    ]
    assert torch.equal(anchors, torch.cat(expected))
    assert generator.num_anchors_per_location == 2


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "make", "options", "strides", "straddle_thresh"),
    [
        (
            "rpn_fpn",
            make_anchor_generator,
            ("MODEL.RPN.USE_FPN", True, "MODEL.RPN.ANCHOR_STRIDE", (4, 8, 16, 32, 64)),
            (4, 8, 16, 32, 64),
            0,
        ),
        ("rpn_c4", make_anchor_generator, (), (16,), 0),
        ("retinanet", make_anchor_generator_retinanet, (), (8, 16, 32, 64, 128), -1),
    ],
)
def test_the_anchors_of_the_original(name, make, options, strides, straddle_thresh):
    generator = make(make_config(*options))
    golden = golden_npz("ops")
    for level, anchors in enumerate(generator(make_features(strides))):
        prefix = f"anchors_{name}_"
        cell = generator.cell_anchors.get_buffer(str(level))
        assert_close(cell, torch.from_numpy(golden[f"{prefix}cell{level}"]), rtol=0, atol=1e-4)
        head = torch.from_numpy(golden[f"{prefix}head{level}"])
        assert_close(anchors[:30], head, rtol=0, atol=1e-4)
        sums = torch.from_numpy(golden[f"{prefix}sum{level}"])
        assert_close(anchors.double().sum(dim=0), sums, rtol=1e-6, atol=1e-2)
        visible = is_inside(anchors, IMAGE_HW, straddle_thresh)
        assert visible.sum() == golden[f"{prefix}visible{level}"]


def test_names_in_the_state_dict():
    generator = make_anchor_generator_retinanet(get_default_config())
    shapes = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
    assert shapes == {f"cell_anchors.{level}": (9, 4) for level in range(5)}


def test_inside_means_sticking_out_by_less_than_the_threshold():
    anchors = torch.tensor(
        [[0.0, 0, 9, 4], [-1, 0, 9, 4], [0, 0, 10, 4], [0, 0, 9, 5], [-2, -2, 11, 6]]
    )
    assert is_inside(anchors, (5, 10), 0).tolist() == [True, False, False, False, False]
    assert is_inside(anchors, (5, 10), 1).tolist() == [True, True, True, True, False]
    assert is_inside(anchors, (5, 10), 2).tolist() == [True] * 5
    assert is_inside(anchors, (5, 10), -1).tolist() == [True] * 5


def test_one_cell_and_no_cells():
    generator = AnchorGenerator(sizes=[[4]], aspect_ratios=[1.0, 2.0], strides=[4])
    assert generator([torch.zeros(0, 7, 1, 1)])[0].shape == (2, 4)
    assert generator([torch.zeros(1, 7, 0, 3)])[0].shape == (0, 4)


def test_anchors_stay_right_and_memory_bounded_through_many_sizes():
    generator = AnchorGenerator(sizes=[[4]], aspect_ratios=[1.0], strides=[4])
    made = 0
    for side in (*range(1, 400), 2):
        (anchors,) = generator([torch.zeros(1, 1, side, 1)])
        assert anchors[:, 1].tolist() == [4.0 * row for row in range(side)]
        made += anchors.nbytes
    assert len(pickle.dumps(generator)) < made / 2


def test_loaded_anchors_take_effect_whatever_was_made_before():
    generator = AnchorGenerator(sizes=[[4]], aspect_ratios=[1.0], strides=[4])
    features = [torch.zeros(1, 1, 1, 1)]
    generator(features)
    generator.load_state_dict({"cell_anchors.0": torch.tensor([[1.0, 2, 3, 4]])})
    assert generator(features)[0].tolist() == [[1, 2, 3, 4]]
    assert copy.deepcopy(generator)(features)[0].tolist() == [[1, 2, 3, 4]]


def test_anchors_made_in_inference_mode_can_be_trained_on():
    generator = AnchorGenerator(sizes=[[4]], aspect_ratios=[1.0], strides=[4])
    features = [torch.zeros(1, 1, 2, 2)]
    with torch.inference_mode():
        generator(features)
    weight = torch.ones(4, requires_grad=True)
    (generator(features)[0] * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.RPN.ANCHOR_STRIDE", (8, 16)), r"ANCHOR_STRIDE: .*\b1\b.*got \[8, 16\]"),
        (("MODEL.RPN.USE_FPN", True), r"ANCHOR_STRIDE: .*\b5\b.*got \[16\]"),
    ],
)
def test_strides_that_do_not_fit_the_sizes(options, message):
    with pytest.raises(ConfigError, match=message):
        make_anchor_generator(make_config(*options))


def test_levels_of_several_sizes():
    """YAMLs of maskrcnn-benchmark may give every level a tuple of sizes of its own."""
    levels = ("MODEL.RPN.USE_FPN", True, "MODEL.RPN.ANCHOR_STRIDE", (8, 16))
    cfg = make_config(*levels, "MODEL.RPN.ANCHOR_SIZES", "((32, 48), (64, 96))")
    generator = make_anchor_generator(cfg)
    assert generator.num_anchors_per_location == 6
    for level, (stride, sizes) in enumerate([(8, (32, 48)), (16, (64, 96))]):
        expected = make_cell_anchors(stride, sizes, (0.5, 1.0, 2.0))
        assert_close(generator.state_dict()[f"cell_anchors.{level}"], expected)
    tuples_of_one = make_config(*levels, "MODEL.RPN.ANCHOR_SIZES", [[32], [64]])
    numbers = make_config(*levels, "MODEL.RPN.ANCHOR_SIZES", (32, 64))
    assert_close(
        make_anchor_generator(tuples_of_one).state_dict(),
        make_anchor_generator(numbers).state_dict(),
    )
    uneven = make_config(*levels, "MODEL.RPN.ANCHOR_SIZES", ((32,), (64, 96)))
    with pytest.raises(ConfigError, match=r"MODEL\.RPN\.ANCHOR_SIZES: "):
        make_anchor_generator(uneven)


def test_strides_of_retinanet_that_do_not_fit_the_sizes():
    cfg = make_config("MODEL.RETINANET.ANCHOR_STRIDES", (8, 16))
    with pytest.raises(ConfigError, match=r"RETINANET\.ANCHOR_STRIDES: .*\b5\b.*got \[8, 16\]"):
        make_anchor_generator_retinanet(cfg)


def test_strides_that_do_not_fit_the_maps():
    generator = make_anchor_generator(get_default_config())
    with pytest.raises(ConfigError, match=r"MODEL\.RPN\.ANCHOR_STRIDE.*\b2\b.*\[16\]"):
        generator(make_features((16, 32)))


def test_levels_of_different_numbers_of_sizes():
    with pytest.raises(ValueError, match="sizes: "):
        AnchorGenerator(sizes=[[4], [8, 16]], aspect_ratios=[1.0], strides=[4, 8])


def test_exact_anchors_lie_around_the_first_corner_by_hand():
    # Of ratio 4 and size 8: 4 wide and 16 high, which is the area 64.
    anchors = make_exact_anchors(16, [8, 6], [1.0, 4.0])
    assert_close(
        anchors,
        torch.tensor([[-4.0, -4, 4, 4], [-3, -3, 3, 3], [-2, -8, 2, 8], [-1.5, -6, 1.5, 6]]),
    )


def test_whole_anchors_are_cut_and_rounded_by_hand():
    # 40.3 is cut to 40; of ratio 0.5 that is 56.57 wide and 28.28 high, and halves are rounded.
    # Half of 101 is rounded to the even number.
    anchors = make_whole_anchors(8, [40.3, 101.6], [1.0, 0.5])
    assert anchors.tolist() == [
        [-20, -20, 20, 20],
        [-50, -50, 50, 50],
        [-28, -14, 28, 14],
        [-71, -36, 71, 36],
    ]


def test_cells_may_lie_as_far_apart_as_the_image_has_px_for_them():
    """An image of 24 x 40 has 3 x 5 cells of 8 px and 1 x 2 of 16, rounded up: 24 and 20 px."""
    rules = GridRules(anchors="exact", pitch="image")
    generator = AnchorGenerator(sizes=[[4], [8]], aspect_ratios=[1.0], strides=[8, 16], rules=rules)
    fine, coarse = generator([torch.zeros(1, 1, 3, 5), torch.zeros(1, 1, 1, 2)])
    assert fine[-1].tolist() == [30, 14, 34, 18]
    assert coarse.tolist() == [[-4, -4, 4, 4], [16, -4, 24, 4]]
