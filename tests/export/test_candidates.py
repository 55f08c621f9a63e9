"""Boxes of maps, beside those of our own stages."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import ArchitectureSpec
from maskrcnn_benchmark.config.shipped import find_config
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.modeling.postprocessing import sort_by_score
from maskrcnn_benchmark.modeling.roi_heads.box_head.box_head import build_roi_box_head
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.export.sessions import run_graph

candidates = pytest.importorskip("maskrcnn_benchmark.export.candidates")
selection = pytest.importorskip("maskrcnn_benchmark.export.selection")
two_stage = pytest.importorskip("maskrcnn_benchmark.export.two_stage")

HW = (100, 150)
PADDED_HW = (128, 160)
CONFIGS = [
    "configs/centermask/centermask_R_50_FPN_1x.yaml",
    "configs/centermask2/centermask_V_39_eSE_FPN_ms_3x.yaml",
    "configs/torchvision/fcos_resnet50_fpn.yaml",
    "configs/retinanet/retinanet_R-50-FPN_1x.yaml",
]


def make_stage(config, *opts):
    cfg = load_settings(find_config(config), ["MODEL.DEVICE", "cpu", *opts])
    return cfg, build_rpn(cfg, 32, ArchitectureSpec.from_config(cfg), None).eval()


@torch.no_grad()
def random_outputs(stage, strides):
    """Outputs of the head for random features, stretched so that scores differ."""
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn(1, 32, -(-PADDED_HW[0] // s), -(-PADDED_HW[1] // s), generator=generator)
        for s in strides
    ]
    logits, *others = stage.head(features)
    logits = [torch.randn(each.shape, generator=generator) * 1.5 - 4 for each in logits]
    return features, stage.outputs(logits, *others)


def flat_inputs(outputs):
    maps = [each for field in outputs for each in field]
    shapes = {
        f"map_{number}": (np.float32, (1, each.shape[1], None, None))
        for number, each in enumerate(maps)
    }
    return [each.numpy() for each in maps], shapes


def by_level(values, outputs):
    count = len(outputs[0])
    fields = [values[at : at + count] for at in range(0, len(values), count)]
    return list(zip(*fields, strict=True))


@pytest.mark.parametrize("config", CONFIGS)
def test_dense_detectors_select_the_same(config):
    cfg, stage = make_stage(config)
    family = ArchitectureSpec.from_config(cfg).proposal
    points = stage.anchor_generator
    strides = getattr(points, "strides", None) or points.keywords["strides"]
    features, outputs = random_outputs(stage, strides)
    settings = stage.select_test.settings
    arrays, shapes = flat_inputs(outputs)

    def build(graph, *values):
        threshold = graph.constant(settings.score_threshold, np.float32)
        levels = by_level(values, outputs)
        found = candidates.CANDIDATES[family](graph, stage, levels, threshold)
        limits = selection.Limits(
            settings.nms_threshold,
            settings.post_nms_top_n,
            settings.min_size,
            settings.pixel_offset,
            settings.clips,
        )
        sides = tuple(graph.constant(side, np.int64) for side in HW)
        boxes = selection.join(graph, found)
        return selection.select(graph, boxes, sides, limits, candidates.num_labels(stage))

    corners, scores, labels = run_graph(shapes, build)(*arrays)
    expected = sort_by_score(stage.select_test(outputs, points(features), [HW])[0])
    assert len(expected) >= 50
    assert np.array_equal(labels, expected.get_field("labels").numpy())
    assert np.abs(scores - expected.get_field("scores").numpy()).max() < 1e-6
    assert np.abs(corners - expected.bbox.numpy()).max() < 1e-3


@pytest.mark.parametrize(
    "config",
    ["configs/e2e_mask_rcnn_R_50_FPN_1x.yaml", "configs/torchvision/maskrcnn_resnet50_fpn.yaml"],
)
def test_two_stages_select_the_same(config):
    few = ["MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 60, "MODEL.RPN.POST_NMS_TOP_N_TEST", 30]
    cfg, stage = make_stage(config, *few)
    features, outputs = random_outputs(stage, stage.anchor_generator.strides)
    post_processor = build_roi_box_head(cfg, 32, ArchitectureSpec.from_config(cfg)).post_processor
    arrays, shapes = flat_inputs(outputs)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(60, 81, generator=generator) * 2
    offsets = torch.randn(60, 4 * 81, generator=generator)
    inputs = {"probs": (np.float32, ("r", 81)), "offsets": (np.float32, ("r", 4 * 81))}

    def build(graph, probs, codes, *values):
        sides = tuple(graph.constant(side, np.int64) for side in HW)
        proposals = two_stage.propose(graph, stage, by_level(values, outputs), sides)
        threshold = graph.constant(post_processor.settings.score_threshold, np.float32)
        boxes = two_stage.classify(
            graph, post_processor, (probs, codes), proposals, sides, threshold, (81, 81)
        )
        return [proposals, *boxes]

    probs = logits.softmax(dim=1).numpy()
    found = run_graph(inputs | shapes, build)(probs, offsets.numpy(), *arrays)
    proposals = stage.select_test(outputs, stage.anchor_generator(features), [HW])[0]
    assert len(proposals) == 60
    assert np.abs(found[0] - proposals.bbox.numpy()).max() < 1e-3
    same = BoxList(torch.from_numpy(found[0]), HW[::-1], pixel_offset=proposals.pixel_offset)
    expected = sort_by_score(post_processor(logits, offsets, [same])[0])
    assert len(expected) >= 50
    assert np.array_equal(found[3], expected.get_field("labels").numpy())
    assert np.abs(found[2] - expected.get_field("scores").numpy()).max() < 1e-6
    assert np.abs(found[1] - expected.bbox.numpy()).max() < 1e-3
