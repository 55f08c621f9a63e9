"""RetinaMask, plain and with group norm, equals its authors' program: results, losses, steps."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from tests.golden.deterministic_weights import deterministic_state_dict
from tests.golden_data import golden_json, golden_npz
from tests.parity.coco_results import assert_coco_results
from tests.parity.reference import make_batch, make_config, match_detections, sample

pytestmark = pytest.mark.golden
PLAIN, GROUP_NORM = "retinamask_R_50", "retinamask_R_101_gn"
CASES = [PLAIN, pytest.param(GROUP_NORM, marks=pytest.mark.slow)]
# Lines of this reference's weights: the coarse levels fire, so that boxes are big and masks are
# pooled from several levels; behind group norm, features are smaller.
TOP_BLOCKS = [(r"\.top_blocks\.p[67]\.", None, 3.0, 0.0)]
TOWERS_WITH_NORM = [
    (r"rpn\.head\.cls_logits\.", lambda n: n > 80, 1.8, -8.0),
    (r"rpn\.head\.bbox_pred\.", lambda n: n > 4, 0.8, 5.0),
]
LINES = {PLAIN: TOP_BLOCKS, GROUP_NORM: TOWERS_WITH_NORM + TOP_BLOCKS}


def _their_state_dict(case):
    """The weights under the names and in the number of a released file."""
    entries = golden_json(case)["state_dict"]
    own = {
        name: value
        for name, value in build_detection_model(make_config(case)).state_dict().items()
        if "cell_anchors" in name
    }
    shapes = {name: own.get(name, torch.empty(shape)) for name, shape, _ in entries}
    return deterministic_state_dict(shapes, LINES[case])


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Case -> path of a file as the authors released it."""
    folder = tmp_path_factory.mktemp("retinamask")

    @cache
    def write(case):
        names = {f"module.{name}": value for name, value in _their_state_dict(case).items()}
        path = folder / f"{case}.pth"
        torch.save({"model": names, "iteration": 360000}, path)
        return path

    return write


@pytest.fixture(scope="module")
def make_model(released):
    def make(case):
        cfg = make_config(case)
        model = build_detection_model(cfg)
        DetectronCheckpointer(cfg, model).load(released(case), use_latest=False, strict=True)
        return model

    return make


class Evaluation(NamedTuple):
    """What our model makes of the two reference photos."""

    features: tuple[torch.Tensor, ...]
    head: tuple[list[torch.Tensor], ...]
    detections: list[BoxList]


@pytest.fixture(scope="module")
def evaluate(make_model):
    @cache
    def run(case):
        model = make_model(case).eval()
        images, _ = make_batch(case)
        with torch.inference_mode():
            features = model.backbone(images.tensors)
            return Evaluation(features, model.rpn.head(features), model(images))

    return run


@pytest.mark.parametrize("case", [PLAIN, GROUP_NORM])
def test_names_shapes_and_trainable_parameters(case):
    with torch.device("meta"):
        model = build_detection_model(make_config(case))
    ours = {name: list(value.shape) for name, value in model.state_dict().items()}
    # Theirs keeps the state of its loss nowhere.
    ours = {name: shape for name, shape in ours.items() if ".box_loss." not in name}
    info = golden_json(case)
    renamed = {
        name.replace("mask.", "roi_heads.mask.", 1) if name.startswith("mask.") else name: shape
        for name, shape, _ in info["state_dict"]
    }
    assert ours == renamed
    trainable = [name for name, value in model.named_parameters() if value.requires_grad]
    assert [name.removeprefix("roi_heads.") for name in trainable] == info["trainable"]
    assert sum(value.numel() for value in model.parameters()) == info["num_parameters"]


@pytest.mark.parametrize("case", CASES)
def test_features_and_head_outputs(case, evaluate):
    result = evaluate(case)
    for level in range(5):
        parts = (result.features, *result.head)
        for name, maps in zip(("fpn", "cls_logits", "bbox_pred"), parts, strict=True):
            ours, reference = sample(case, f"{name}{level}", maps[level])
            np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("image", [0, 1])
def test_detections_and_masks(case, image, evaluate):
    detections, data = evaluate(case).detections[image], golden_npz(case)
    num_reference = len(data[f"det{image}_boxes"])
    pairs = match_detections(case, image, detections)
    assert len(pairs) >= num_reference - 1  # one tie at the cut-off may fall the other way
    assert len(detections) <= num_reference + 1
    ours, reference = (list(inds) for inds in zip(*pairs, strict=True))
    scores, masks = detections.scores[ours], detections.get_field("mask")[ours]
    np.testing.assert_allclose(scores, data[f"det{image}_scores"][reference], atol=1e-4)
    np.testing.assert_allclose(masks, data[f"det{image}_masks"][reference], atol=2e-3)
    assert_coco_results(case, image, detections)


@pytest.mark.parametrize("case", CASES)
def test_losses_gradients_and_running_numbers(case, make_model):
    model = make_model(case).train()
    info = golden_json(case)
    images, targets = make_batch(case)
    losses = model(images, targets)
    values = {name: loss.item() for name, loss in losses.items()}
    assert values == pytest.approx(info["train"]["losses"], rel=1e-4)
    numbers = [model.rpn.loss.box_loss.running_mean, model.rpn.loss.box_loss.running_var]
    np.testing.assert_allclose(torch.stack(numbers), info["train"]["running"][0], rtol=1e-4)
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    norms = [gradient.double().norm().item() for gradient in gradients.values()]
    reference = golden_npz(case)["grad_norms"]
    # Biases in front of group normalisation have no true gradient, hence the absolute part.
    atol = 1e-4 * np.median(reference)
    np.testing.assert_allclose(norms, reference, rtol=2e-3, atol=atol)


def _without_masks(losses):
    return {name: value for name, value in losses.items() if name != "loss_mask"}


@pytest.mark.slow
@pytest.mark.parametrize("case", [PLAIN, GROUP_NORM])
def test_sgd_trace(case, make_model):
    trace = golden_json(case)["sgd_trace"]
    model = make_model(case).train()
    optimizer = make_optimizer(make_config(case, "SOLVER.BASE_LR", trace["lr"]), model)
    images, targets = make_batch(case)
    losses = {}
    for step, expected in enumerate(trace["losses"]):
        if losses:
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
        losses = model(images, targets)
        values = {name: loss.item() for name, loss in losses.items()}
        # A proposal more or less among the hundred best moves the mean over some hundred masks:
        # with two threads, those of the reference, at the fourth step, with one at the third.
        mask_rtol = 5e-4 if step < 2 else 6e-3
        assert values.pop("loss_mask") == pytest.approx(expected["loss_mask"], rel=mask_rtol)
        assert values == pytest.approx(_without_masks(expected), rel=5e-4)
