"""Thresholds at which models with random weights find objects."""

import math
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu.scenes import Scene, make_images, make_model, read_settings
from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.families import FAMILIES, SETTINGS_KEY
from maskrcnn_benchmark.timing import thresholds

CPU = torch.device("cpu")
Outputs = namedtuple("Outputs", ["logits", "codes"])


def dense_model(logits, num_points):
    """A model that predicts these logits a level, whatever the image."""
    stage = SimpleNamespace(
        outputs=Outputs,
        head=lambda _features: (logits, None),
        anchor_generator=lambda _features: [torch.zeros(number, 4) for number in num_points],
    )
    return SimpleNamespace(has_roi_heads=False, backbone=lambda images: images, rpn=stage)


def scores_of(logits, num_points, num_classes):
    images = SimpleNamespace(tensors=None)
    return thresholds.class_scores(dense_model(logits, num_points), images, num_classes)


def test_with_a_sigmoid_every_class_at_every_point_is_a_prediction():
    # Two points a cell, three classes; 2 x 2 cells, then one.
    fine, coarse = torch.randn(1, 6, 2, 2), torch.randn(1, 6, 1, 1)
    found = scores_of([fine, coarse], [8, 2], num_classes=4)
    expected = [1 / (1 + math.exp(-x)) for x in [*fine.flatten(), *coarse.flatten()]]
    assert sorted(found.tolist()) == pytest.approx(sorted(expected))


def test_with_a_softmax_the_best_class_of_every_point_is_a_prediction():
    logits = torch.randn(2, 2 * 3, 1, 2)  # two points a cell, background and two classes
    expected = []
    for image in logits.tolist():
        for point in range(2):
            for column in range(2):
                exps = [math.exp(image[3 * point + c][0][column]) for c in range(3)]
                expected.append(max(exps[1:]) / sum(exps))
    found = scores_of([logits], [4], num_classes=3)
    assert sorted(found.tolist()) == pytest.approx(sorted(expected))


def test_logits_of_a_background_that_does_not_count_are_left_out():
    logits = torch.randn(1, 2 * 3, 1, 2)
    images = SimpleNamespace(tensors=None)
    found = thresholds.class_scores(dense_model([logits], [4]), images, 3, True)
    classes = logits.view(2, 3, 2)[:, 1:].flatten()
    expected = [1 / (1 + math.exp(-x)) for x in classes]
    assert sorted(found.tolist()) == pytest.approx(sorted(expected))


def test_predictions_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="expected 4 or 3 logits a point, got 5"):
        scores_of([torch.zeros(1, 5, 1, 1)], [1], num_classes=4)


def test_every_family_names_a_setting():
    cfg = get_default_config()
    for name in FAMILIES:
        family = FAMILIES[name]
        if family.threshold_key.startswith(SETTINGS_KEY):
            field = family.threshold_key.rpartition(".")[2].lower()
            assert 0 <= getattr(family.settings(), field) <= 1
        else:
            assert 0 <= cfg.lookup(family.threshold_key) <= 1


@pytest.mark.parametrize(
    "config",
    [
        "quickstart/centermask_lite_M_v2_FPN_quickstart",
        "quickstart/tensormask_M_v2_FPN_quickstart",
        "quickstart/yolact_M_v2_FPN_quickstart",
        "quickstart/shapemask_M_v2_FPN_quickstart",
        pytest.param("retinanet/retinanet_R-50-FPN_1x", marks=pytest.mark.slow),
        pytest.param("e2e_faster_rcnn_R_50_FPN_1x", marks=pytest.mark.slow),
    ],
)
def test_a_model_with_random_weights_finds_as_many_objects_as_it_may(config):
    cfg = read_settings(config, CPU)
    cfg.merge_from_list(
        ["TEST.DETECTIONS_PER_IMG", 7, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 7]
    )  # fmt: skip
    # Norms of maps with one cell have nothing to fit.
    images = make_images(Scene("", (256, 256)), CPU)
    option = thresholds.make_threshold(cfg, make_model(cfg, images, CPU), images)
    cfg.merge_from_list([*option])
    model = make_model(cfg, images, CPU).eval()
    with torch.no_grad():
        (found,) = model(images)
    assert len(found) == 7
