import pytest
import torch

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import swap_align2nat
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.strides import Level
from tests.modeling.dense.tensormask.examples import make_inputs, make_stage, small_config

ALL = ("MODEL.DENSE.SETTINGS.SCORE_THRESHOLD", 0.0)


def detect(stage, images, maps):
    with torch.no_grad():
        return stage.eval()(images, maps).boxes


@pytest.mark.parametrize(
    ("options", "is_dense"),
    [
        ((), True),
        (("MODEL.DENSE.SETTINGS.BIPYRAMID_ON", False), True),
        (
            (
                *("MODEL.DENSE.SETTINGS.BIPYRAMID_ON", False),
                *("MODEL.DENSE.SETTINGS.ALIGNED_ON", False),
            ),
            False,
        ),
    ],
)
def test_masks_are_those_of_the_windows(options, is_dense):
    """upstream: uncut-masks: all of a window's mask, whatever box was predicted there."""
    stage = make_stage(*ALL, *options)
    images, maps = make_inputs()
    head = stage.head
    with torch.no_grad():
        outputs = head(maps)
        windows = stage.anchor_generator(maps)
        for n, found in enumerate(detect(stage, images, maps)):
            assert len(found) > 10
            for (mask,), box in zip(
                found.predicted_masks.masks, found.predicted_masks.boxes, strict=True
            ):
                level, number = place(windows, box)
                cell, size = divmod(number, 2)
                y, x = divmod(cell, maps[level].shape[-1])
                layer = list(head.mask_pred.values())[size]
                factor = stage.select_test.reader.factors[level]
                logits = layer(outputs.mask_maps[level][n : n + 1])
                dense = swap_align2nat(logits, factor) if is_dense else logits
                expected = dense[0, :, y, x].view_as(mask).sigmoid()
                torch.testing.assert_close(mask, expected, rtol=1e-4, atol=1e-5)


def place(windows, box):
    for level, level_windows in enumerate(windows):
        (same,) = (level_windows == box).all(dim=1).nonzero(as_tuple=True)
        if len(same):
            return level, int(same[0])
    raise AssertionError(f"no window is {box}")


def test_under_autocast_masks_are_of_32_bits():
    stage = make_stage(*ALL)
    images, maps = make_inputs()
    with torch.no_grad():
        outputs, windows = stage.head(maps), stage.anchor_generator(maps)
        exact = stage.select_test(outputs, windows, images.image_sizes)
        with torch.autocast("cpu", torch.bfloat16):
            found = stage.select_test(outputs, windows, images.image_sizes)
    for one, other in zip(found, exact, strict=True):
        for mask, expected in zip(
            one.predicted_masks.masks, other.predicted_masks.masks, strict=True
        ):
            assert mask.dtype == torch.float32
            assert torch.equal(mask, expected)


def test_detections_are_the_best_of_all_levels_together():
    stage = make_stage(*ALL, "MODEL.DENSE.SETTINGS.NMS_TOP_N", 7)
    images, maps = make_inputs()
    with torch.no_grad():
        logits = stage.head(maps).logits
    for n, found in enumerate(detect(stage, images, maps)):
        probs = torch.cat([level[n].flatten() for level in logits]).sigmoid()
        best = probs.topk(7).values
        assert 0 < len(found) <= 7
        assert torch.equal(found.scores, found.scores.sort(descending=True).values)
        assert found.scores[0] == best[0]
        assert found.scores.min() >= best[-1]
        assert found.pixel_offset == 0


def test_no_more_than_the_limit():
    stage = make_stage(*ALL, "TEST.DETECTIONS_PER_IMG", 3)
    images, maps = make_inputs()
    assert [len(found) for found in detect(stage, images, maps)] == [3, 3]


@pytest.mark.parametrize(("num_images", "side"), [(2, 64), (0, 64), (1, 1)])
def test_nothing_found(num_images, side):
    stage = make_stage("MODEL.DENSE.SETTINGS.SCORE_THRESHOLD", 0.99)
    images, maps = make_inputs(num_images, side)
    found = detect(stage, images, maps)
    assert len(found) == num_images
    for boxes in found:
        assert len(boxes) == 0
        assert boxes.fields() == ["labels", "scores", "mask"]
        resized = boxes.resize((640, 480))
        assert resized.predicted_masks.encode() == []
        assert resized.predicted_masks.planes().shape == (0, 480, 640)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("MODEL.CONVENTION", "legacy"), "MODEL.CONVENTION.*detectron2.*legacy"),
        (("MODEL.DENSE.SETTINGS.ANCHOR_SIZES", (44, 61)), "ANCHOR_SIZES.*4.*44, 61"),
        (("MODEL.DENSE.SETTINGS.ANCHOR_SIZES", (60, 44)), "ANCHOR_SIZES.*ascending.*60, 44"),
        (("MODEL.DENSE.SETTINGS.ALIGNED_ON", False), "ALIGNED_ON.*BIPYRAMID_ON"),
        (("MODEL.DENSE.SETTINGS.PRIOR_PROB", 1.0), "PRIOR_PROB.*1.0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, names):
    with pytest.raises(ConfigError, match=names):
        make_stage(*options)


def test_maps_must_halve():
    cfg = small_config()
    levels = [Level(8, 4), Level(8, 8), Level(8, 32)]
    with pytest.raises(ConfigError, match=r"CONV_BODY.*4, 8, 32"):
        build_rpn(cfg, 8, None, levels)
