"""Parameters and multiply-adds, against counts by hand."""

import pytest
from torch import nn

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.engine import complexity
from maskrcnn_benchmark.engine.complexity import build_complexity

LITE = "configs/centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml"


def parts_of(**settings):
    cfg = get_default_config()
    cfg.merge_from_file(LITE)
    cfg.merge_from_list([word for key, value in settings.items() for word in (key, value)])
    return {part.name: part for part in build_complexity(cfg).parts}, cfg


@pytest.fixture(scope="module")
def lite():
    return parts_of()[0]


def test_fcos_head_of_the_lite_model_by_hand(lite):
    # Two towers of two 3x3 convolutions of 128 channels, 81 - 1 classes, 4 sides, 1 centerness.
    kernel = 128 * 9
    values = 4 * 128 + 80 + 4 + 1
    assert lite["rpn"].parameters == kernel * values + 4 * 128 + 85 + 4 * 2 * 128 + 5
    cells = sum(-(-608 // stride) * -(-1024 // stride) for stride in (8, 16, 32, 64, 128))
    assert lite["rpn"].multiply_adds == kernel * values * cells


def test_mask_head_of_the_lite_model_by_hand(lite):
    cells, boxes = 14 * 14, 50
    towers = 2 * 128 * 128 * 9 + 2 * 9  # and the attention over two maps
    upsampling, logits = 128 * 128 * 4, 4 * 128
    assert lite["mask head"].boxes == boxes
    assert lite["mask head"].multiply_adds == boxes * cells * (towers + upsampling + logits)


def test_the_work_of_heads_is_proportional_to_the_boxes(lite):
    twice, _ = parts_of(**{"TEST.DETECTIONS_PER_IMG": 100})
    assert twice["mask head"].multiply_adds == 2 * lite["mask head"].multiply_adds
    assert twice["backbone"] == lite["backbone"]


def test_the_image_is_the_padded_test_size():
    _, cfg = parts_of()
    assert build_complexity(cfg).image_hw == (608, 1024)
    assert build_complexity(cfg, (64, 96)).image_hw == (64, 96)


def test_a_shared_parameter_counts_once():
    shared, own = nn.Linear(3, 4), nn.Linear(4, 5)
    parts = [("a", shared, 1, None), ("b", nn.Sequential(shared, own), 2, 7)]
    first, second = complexity._without_shared_parameters(parts)
    assert (first.parameters, second.parameters) == (3 * 4 + 4, 4 * 5 + 5)


def test_the_table_ends_with_the_sum(lite):
    text = complexity.Complexity(tuple(lite.values()), (608, 1024)).table()
    assert text.splitlines()[0].endswith("for an image of 1024 x 608 px")
    assert text.splitlines()[-1].startswith("sum")


def test_a_head_that_returns_parameters_by_hand():
    """Of TensorMask, whose selection interpolates the filters of a few small masks besides."""
    cfg = get_default_config()
    cfg.merge_from_file("configs/quickstart/tensormask_M_v2_FPN_quickstart.yaml")
    found = {part.name: part for part in build_complexity(cfg, (64, 96)).parts}
    cells = sum(-(-64 // stride) * -(-96 // stride) for stride in (4, 8, 16, 32, 64, 128))
    towers = 96 * 96 * 2 + 96 * 64 * 2 + 64 * 64 * 2
    outputs = 96 * 2 * 80 + 64 * 2 * 4
    fusion = 6 * 16 * 24 * 64 * 64 * 9
    expected = 9 * (towers + outputs) * cells + fusion
    assert expected <= found["rpn"].multiply_adds < 1.01 * expected
