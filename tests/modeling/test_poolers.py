import math

import pytest
import torch
from torch.testing import assert_close

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.convention import DETECTRON2
from maskrcnn_benchmark.layers import roi_align
from maskrcnn_benchmark.modeling.poolers import (
    LevelMapper,
    LevelMapperwithArea,
    Pooler,
    make_level_mapper,
    make_pooler,
    to_rois,
)
from maskrcnn_benchmark.modeling.registry import LEVEL_MAPPERS
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.factories import random_boxes, random_boxlist
from tests.golden_data import golden_npz

SCALES = (1 / 8, 1 / 16, 1 / 32)
BOTH_MAPPERS = pytest.mark.parametrize("mapper_class", [LevelMapper, LevelMapperwithArea])


@pytest.fixture
def golden():
    return {key: torch.from_numpy(value) for key, value in golden_npz("ops").items()}


def square(side, image_wh=(640, 480)):
    return BoxList([[0.0, 0.0, side - 1.0, side - 1.0]], image_wh)


def boxes_of_all_levels(seed=0):
    """Random boxes, and one that covers about a third and one that covers most of the image."""
    large = torch.tensor([[30.0, 50.0, 330.0, 270.0], [5.0, 9.0, 500.0, 370.0]])
    boxes = BoxList(torch.cat([random_boxes(6, (512, 384), seed), large]), (512, 384))
    return boxes[torch.tensor([6, 0, 1, 7, 2, 3, 4, 5])]


def features(num_images=2, num_channels=3):
    return [torch.rand(num_images, num_channels, 48 // 2**i, 64 // 2**i) for i in range(3)]


@pytest.mark.parametrize(
    ("side", "level"),
    [(111, 0), (112, 1), (223, 1), (224, 2), (447, 2), (448, 3), (2000, 3), (1, 0)],
)
def test_level_by_size(side, level):
    """FPN, Eq. (1): 224 px belong to level 4, half to the one below."""
    assert LevelMapper(2, 5)([square(side)]).tolist() == [level]


@pytest.mark.parametrize(
    ("share", "level"), [(1, 2), (0.6, 2), (0.4, 1), (0.3, 1), (0.2, 0), (0.01, 0)]
)
def test_level_by_share_of_the_image(share, level):
    """CenterMask, Eq. (2): over half of the image level 5, over a quarter 4, below it 3."""
    boxes = BoxList([[0.0, 0.0, 639.0, 480 * share - 1]], (640, 480))
    assert LevelMapperwithArea(3, 5)([boxes]).tolist() == [level]


def test_the_share_is_that_of_each_image():
    mapper = LevelMapperwithArea(3, 5)
    boxes = [square(100, (100, 100)), square(100, (150, 150)), square(100, (1000, 1000))]
    assert mapper(boxes).tolist() == [2, 1, 0]
    assert mapper([each.convert("xywh") for each in boxes]).tolist() == [2, 1, 0]


@BOTH_MAPPERS
def test_empty_and_inverted_boxes_are_of_the_finest_level(mapper_class):
    boxes = BoxList([[9.0, 9.0, 8.0, 8.0], [50.0, 0.0, 5.0, 600.0]], (640, 480))
    levels = mapper_class(3, 5)([boxes])
    assert levels.dtype == torch.int64
    assert levels.tolist() == [0, 0]


@BOTH_MAPPERS
def test_levels_of_no_boxes(mapper_class):
    mapper = mapper_class(3, 5)
    for boxes in ([], [random_boxlist(0)], [random_boxlist(0)] * 2):
        assert mapper(boxes).shape == (0,)
        assert mapper(boxes).dtype == torch.int64


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "mapper"),
    [
        ("levels_area_3_5", LevelMapperwithArea(3, 5)),
        ("levels_area_2_5", LevelMapperwithArea(2, 5)),
        ("levels_fpn_2_5", LevelMapper(2, 5)),
        ("levels_fpn_3_5", LevelMapper(3, 5)),
    ],
)
def test_levels_of_the_original(golden, name, mapper):
    boxes = BoxList(golden["levels_boxes"], tuple(golden["levels_image_wh"].tolist()))
    assert mapper([boxes[:100], boxes[100:]]).tolist() == golden[name].tolist()


@pytest.mark.golden
def test_features_of_the_original(golden):
    boxes = BoxList(golden["levels_boxes"], (640, 480))
    pooler = Pooler((7, 7), SCALES, sampling_ratio=2, level_mapper=LevelMapperwithArea(3, 5))
    pooled = pooler([golden[f"pooler_feat{i}"] for i in range(3)], [boxes[:20], boxes[500:509]])
    assert_close(pooled, golden["pooler_out"], rtol=1e-5, atol=1e-5)


def test_rois_carry_their_image():
    boxes = [random_boxlist(2), random_boxlist(0), random_boxlist(3, seed=5).convert("xywh")]
    rois = to_rois(boxes, torch.device("cpu"))
    assert rois[:, 0].tolist() == [0, 0, 2, 2, 2]
    assert_close(rois[2:, 1:], boxes[2].convert("xyxy").bbox)


def test_every_box_is_pooled_from_its_level():
    boxes = [boxes_of_all_levels(seed) for seed in (1, 2)]
    maps, mapper = features(), LevelMapperwithArea(3, 5)
    pooled = Pooler((5, 4), SCALES, 2, mapper)(maps, boxes)
    rois, levels = to_rois(boxes, torch.device("cpu")), mapper(boxes)
    assert len(levels.unique()) == 3
    for each, roi, level in zip(pooled, rois, levels.tolist(), strict=True):
        expected = roi_align(maps[level], roi[None], (5, 4), SCALES[level], 2)[0]
        assert_close(each, expected)


def test_a_batch_is_its_images_one_by_one():
    boxes = [random_boxlist(4, (512, 384), seed) for seed in (1, 2)]
    maps, pooler = features(), Pooler((7, 7), SCALES, 2, LevelMapper(3, 5))
    alone = [pooler([each[i : i + 1] for each in maps], [boxes[i]]) for i in range(2)]
    assert_close(pooler(maps, boxes), torch.cat(alone))


def test_gradient_reaches_every_level_used():
    maps = [each.double().requires_grad_() for each in features()]
    boxes = [boxes_of_all_levels(), random_boxlist(0, (512, 384))]
    pooler = Pooler((2, 2), SCALES, 2, LevelMapperwithArea(3, 5))
    pooler(maps, boxes).sum().backward()
    for each in maps:
        assert each.grad[0].any()
        assert not each.grad[1].any()


def test_no_boxes_forward_and_backward():
    maps = [each.requires_grad_() for each in features()]
    pooler = Pooler((7, 7), SCALES, 2, LevelMapper(3, 5))
    pooled = pooler(maps, [random_boxlist(0), random_boxlist(0)])
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert all(not each.grad.any() for each in maps)


def test_no_images():
    maps = features(num_images=0)
    assert Pooler((7, 7), SCALES, 2, LevelMapper(3, 5))(maps, []).shape == (0, 3, 7, 7)


def test_one_level_needs_no_mapper():
    boxes, maps = [random_boxlist(3, (512, 384))], features(num_images=1)
    pooled = Pooler((7, 7), SCALES[:1], 2)(maps, boxes)
    assert_close(pooled, roi_align(maps[0], to_rois(boxes, torch.device("cpu")), 7, 1 / 8, 2))


def test_several_levels_are_mapped_by_size_unless_said_otherwise():
    """Regression: scripts of maskrcnn-benchmark name no mapper, and were refused."""
    boxes, maps = [boxes_of_all_levels()], features(num_images=1)
    pooler = Pooler((7, 7), SCALES, 2)
    assert isinstance(pooler.level_mapper, LevelMapper)
    assert (pooler.level_mapper.k_min, pooler.level_mapper.k_max) == (3, 5)
    assert_close(pooler(maps, boxes), Pooler((7, 7), SCALES, 2, LevelMapper(3, 5))(maps, boxes))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="scales"):
        Pooler((7, 7), (), 2)
    with pytest.raises(ValueError, match=r"1 .*3 "):
        Pooler((7, 7), SCALES, 2, LevelMapper(3, 5))(features()[:1], [])


def test_mappers_are_registered():
    assert isinstance(LEVEL_MAPPERS["MASKRCNNLevelMapFunc"](2, 5), LevelMapper)
    assert isinstance(LEVEL_MAPPERS["CenterMaskLevelMapFunc"](3, 5), LevelMapperwithArea)


@pytest.mark.parametrize("head_name", ["ROI_BOX_HEAD", "ROI_MASK_HEAD", "ROI_KEYPOINT_HEAD"])
def test_pooler_of_a_configuration(head_name):
    """upstream: one-level-map: the mask head's key decides for every head."""
    cfg = get_default_config()
    cfg.MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION = "CenterMaskLevelMapFunc"
    cfg.MODEL[head_name].POOLER_SCALES = SCALES
    cfg.MODEL[head_name].POOLER_RESOLUTION = 9
    cfg.MODEL[head_name].POOLER_SAMPLING_RATIO = 2
    pooler = make_pooler(cfg, head_name)
    assert pooler.output_size == (9, 9)
    assert isinstance(pooler.level_mapper, LevelMapperwithArea)
    assert (pooler.level_mapper.k_min, pooler.level_mapper.k_max) == (3, 5)
    assert [layer.sampling_ratio for layer in pooler.poolers] == [2, 2, 2]


def test_levels_are_those_of_the_scales():
    mapper = make_level_mapper(get_default_config(), (0.25, 0.125))
    assert isinstance(mapper, LevelMapper)
    assert (mapper.k_min, mapper.k_max) == tuple(-int(math.log2(s)) for s in (0.25, 0.125))


def test_a_pooler_takes_cells_for_their_centres_if_it_is_told():
    features = torch.randn(1, 2, 12, 12)
    boxes = BoxList([[8.0, 9.0, 80.0, 61.0]], (96, 96), pixel_offset=0)
    pooler = Pooler((7, 7), (1 / 8,), 0, aligned=True)
    expected = roi_align(features, to_rois([boxes], features.device), 7, 1 / 8, 0, True)
    assert_close(pooler([features], [boxes]), expected)
    assert not torch.equal(Pooler((7, 7), (1 / 8,), 0)([features], [boxes]), expected)


def test_a_level_counts_the_area_between_edges():
    """k = ceil(5 - log2(64 * 64 / area)): 2048 px^2 are level 4 in edges, 5 in pixels."""
    mapper = LEVEL_MAPPERS.build("CenterMaskLevelMapFunc", 3, 5, DETECTRON2.roi)
    corners = [[0.0, 0.0, 64.0, 32.0], [5.0, 5.0, 5.0, 9.0]]
    edges = BoxList(corners, (64, 64), pixel_offset=0)
    assert (mapper([edges]) + 3).tolist() == [4, 3]
    assert (LevelMapperwithArea(3, 5)([BoxList(corners, (64, 64))]) + 3).tolist()[0] == 5
    assert mapper.eps == 2**-52


def test_the_pooler_of_centermask2():
    cfg = get_default_config()
    cfg.merge_from_file("configs/centermask2/centermask_V_39_eSE_FPN_ms_3x.yaml")
    pooler = make_pooler(cfg, "ROI_MASK_HEAD")
    assert [(one.aligned, one.sampling_ratio) for one in pooler.poolers] == [(True, 0)] * 3
    assert isinstance(pooler.level_mapper, LevelMapperwithArea)
    assert pooler.level_mapper.eps == DETECTRON2.roi.share_eps
