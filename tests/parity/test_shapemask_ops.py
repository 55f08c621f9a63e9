"""Single operations of ShapeMask against its authors' program."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.data.transforms import FitToCanvas
from maskrcnn_benchmark.modeling.dense.selection import SelectionSettings
from maskrcnn_benchmark.modeling.dense.shapemask.anchors import (
    ShapeMaskAnchors,
    decode_boxes,
    encode_boxes,
)
from maskrcnn_benchmark.modeling.dense.shapemask.branch import MaskOutputs
from maskrcnn_benchmark.modeling.dense.shapemask.inference import choose
from maskrcnn_benchmark.modeling.dense.shapemask.loss import (
    box_code_loss,
    class_loss,
    match_anchors,
)
from maskrcnn_benchmark.modeling.dense.shapemask.mask_head import ShapeMaskROIHead, trained_labels
from maskrcnn_benchmark.modeling.dense.shapemask.regions import (
    crop_features,
    jittered_boxes,
    levels_of,
    masks_in_outer,
    outer_boxes,
)
from maskrcnn_benchmark.modeling.dense.shapemask.samples import (
    MaskSampler,
    MaskSamples,
    mask_losses,
)
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.modeling.make_layers import BatchNormSettings
from maskrcnn_benchmark.solver import make_lr_scheduler
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import PixelNormalizer
from maskrcnn_benchmark.structures.paste_rules import LEGACY_PASTE
from maskrcnn_benchmark.structures.photo_masks import PhotoMasks
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.contract.source_tree import ROOT
from tests.golden.deterministic_weights_shapemask import state
from tests.golden_data import golden_npz

pytestmark = pytest.mark.golden
STRIDES = (8, 16, 32, 64, 128)
SETTINGS = ShapeMaskSettings()


def load(name):
    return {
        key: torch.from_numpy(np.array(value))
        for key, value in golden_npz(f"shapemask/{name}").items()
    }


@pytest.fixture
def ops():
    return load("ops_shapemask")


def anchors_of(height, width):
    maps = [torch.zeros(1, 1, height // stride, width // stride) for stride in STRIDES]
    return ShapeMaskAnchors(strides=STRIDES, settings=SETTINGS)(maps)


def test_anchors(ops):
    for level, (found, step) in enumerate(
        zip(anchors_of(256, 384), (37, 37, 1, 1, 1), strict=True), start=3
    ):
        torch.testing.assert_close(found[::step], ops[f"anchors_P{level}"], rtol=0, atol=1e-4)


def test_box_code(ops):
    decoded = decode_boxes(ops["coder_codes_yxhw"], ops["coder_anchors"], (256, 256))
    torch.testing.assert_close(decoded, ops["coder_decoded_clipped_256"], rtol=0, atol=1e-4)
    codes = encode_boxes(ops["coder_gt"], ops["coder_anchors"])
    torch.testing.assert_close(codes, ops["coder_encoded_yxhw"], rtol=0, atol=1e-6)


def test_selection(ops):
    boxes = ops["select_boxes"]
    settings = SelectionSettings(0.05, 5000, 0.5, 100)
    found = choose(ops["select_scores"].T.contiguous(), boxes.__getitem__, settings)
    assert torch.equal(found.boxes, ops["select_out_boxes"])
    assert torch.equal(found.scores, ops["select_out_scores"])
    assert torch.equal(found.labels, ops["select_out_labels"])


def test_matching(ops):
    anchors, boxes = torch.cat(anchors_of(256, 256)), ops["label_gt"]
    found = match_anchors(anchors, boxes, 0.5)
    assert torch.equal(found.anchors, ops["label_positive_index"])
    assert torch.equal(ops["label_gt_classes"][found.objects], ops["label_positive_class"])
    codes = encode_boxes(boxes[found.objects], anchors[found.anchors])
    torch.testing.assert_close(codes, ops["label_positive_codes_yxhw"], rtol=0, atol=1e-6)
    assert len(found.anchors) == ops["label_num_positives"]


def test_crop(ops):
    maps = [ops[f"crop_P{level}"] for level in range(3, 8)]
    crops = crop_features(maps, list(ops["crop_boxes"]), STRIDES).view(2, 6, 4, 32, 32)
    torch.testing.assert_close(crops[..., ::3, ::3], ops["crop_out"], rtol=0, atol=7e-5)
    torch.testing.assert_close(crops.mean(dim=(3, 4)), ops["crop_out_mean"], rtol=0, atol=1e-5)


def test_crop_at_the_bounds_of_levels():
    given = load("ops_shapemask_levels")
    maps = [
        torch.from_numpy(
            np.random.Generator(np.random.PCG64(level)).standard_normal(
                (1, 2, 1024 >> level, 1024 >> level)
            )
        ).float()
        for level in range(3, 8)
    ]
    levels = levels_of(given["boxes"], STRIDES) + 3
    assert levels.tolist() == [6, 6, 5, 5, 6, 5, 4, 4, 3, 3, 5]
    crops = crop_features(maps, [given["boxes"]], STRIDES)
    torch.testing.assert_close(crops[:, :, ::5, ::5], given["out"], rtol=0, atol=7e-5)


def test_outer_boxes_priors_and_jitter(ops):
    boxes = ops["prior_boxes"]
    outer = outer_boxes(boxes, 1.25, (256, 256))
    torch.testing.assert_close(outer, ops["prior_outer_boxes"], rtol=0, atol=1e-4)
    found = masks_in_outer(ops["prior_masks"], boxes, outer)
    torch.testing.assert_close(found, ops["prior_out"], rtol=0, atol=1e-5)
    jittered = jittered_boxes(boxes, ops["jitter_noise"], (256, 256))
    torch.testing.assert_close(jittered, ops["jitter_out"], rtol=0, atol=1e-4)


def make_head(class_agnostic):
    settings = ShapeMaskSettings(class_agnostic=class_agnostic, num_priors=3)
    head = ShapeMaskROIHead(
        in_channels=256,
        strides=STRIDES,
        priors=torch.zeros(5, 3, 32, 32),
        settings=settings,
        norm=BatchNormSettings(1e-4, 0.003),
        sampler=MaskSampler(settings=settings),
    )
    weights = state(num_classes=5, num_priors=3, class_agnostic=class_agnostic)
    start = "roi_heads.mask."
    own = {k.removeprefix(start): torch.from_numpy(v) for k, v in weights.items() if start in k}
    missing, unexpected = head.load_state_dict(own, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return head


def make_map(level):
    """(2, 256, 256 / stride, 256 / stride) noise."""
    side = 256 >> level
    generators = [np.random.Generator(np.random.PCG64(100 * level + image)) for image in range(2)]
    maps = [each.standard_normal((256, side, side)) for each in generators]
    return torch.from_numpy(np.stack(maps)).float()


@pytest.mark.parametrize("kind", ["class", "agnostic"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_mask_head(ops, kind, mode):
    head = make_head(kind == "agnostic").train(mode == "train")
    seen = {}
    head.reduce.register_forward_hook(lambda _m, _i, out: seen.update(features=out))
    head.prior_classifier.register_forward_hook(lambda _m, _i, out: seen.update(logits=out))
    maps = [make_map(level) for level in range(3, 8)]
    maps[0].requires_grad_(True)
    boxes, labels = ops["head_boxes"], ops["head_classes"].flatten()
    outer = [outer_boxes(each, 1.25, (256, 256)) for each in boxes]
    found = head.predict(maps, boxes.flatten(0, 1), outer, labels)
    name = f"head_{kind}_{mode}_"
    features = seen["features"].permute(0, 3, 1, 2).flatten()[::997]
    torch.testing.assert_close(features, ops[f"{name}features"], rtol=0, atol=7e-5)
    outputs = torch.zeros_like(labels) if kind == "agnostic" else labels
    mixture = seen["logits"].view(6, -1, 3)[torch.arange(6), outputs].softmax(dim=1)
    torch.testing.assert_close(mixture.view(2, 3, 3), ops[f"{name}weights"], rtol=0, atol=7e-5)
    # Norms of six boxes' statistics make rounding grow, most where a coarse logit is next to 0.
    atol = 1e-4 if mode == "eval" else 2e-3
    for part, values in {
        "priors": found.priors[:, ::2, ::2],
        "coarse": found.coarse[:, ::2, ::2],
        "fine": found.fine[:, 1::6, 1::6],
    }.items():
        expected = ops[name + part].flatten(0, 1)
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=atol)
    ((found.coarse**2).mean() + (found.fine**2).mean() + found.priors.mean()).backward()
    expected = ops[f"{name}grad_P3"]
    difference = (maps[0].grad.flatten()[::1009] - expected).norm() / expected.norm()
    assert difference < (1e-3 if mode == "eval" else 1e-2)


def test_losses(ops):
    settings = ShapeMaskSettings(box_weight=1.0, prior_weight=1.0)
    targets = ops["loss_cls_targets"].long()
    logits = ops["loss_cls_logits"].permute(0, 2, 3, 1).reshape(-1, 5)
    is_counted = targets.flatten() != -2
    num_positives = ops["loss_num_positives"].sum() + 1
    columns = targets.flatten()[is_counted] + 1
    classes = class_loss(logits[is_counted], columns, settings) / num_positives
    codes = box_code_loss(ops["loss_box_codes"], ops["loss_box_targets"], 0.15)
    masks = ops["loss_mask_targets"].flatten(0, 1)
    logits, priors = (ops[f"loss_{name}"].flatten(0, 1) for name in ("mask_logits", "priors"))
    nothing = torch.zeros(6, 4)
    weights = ops["loss_mask_valid"].flatten().float()
    samples = MaskSamples(nothing, nothing, nothing[:, 0].long(), weights, masks, masks)
    found = mask_losses(MaskOutputs(priors, logits, logits), samples, settings)
    assert found["loss_fine"] == found["loss_coarse"]
    values = [classes, codes / (4 * num_positives), found["loss_prior"], found["loss_coarse"]]
    torch.testing.assert_close(torch.stack(values), ops["loss_values"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [64, 40, 128])
def test_resize(ops, side):
    normalizer = PixelNormalizer((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), to_bgr255=False)
    image = ops["resize_image"].numpy().astype(np.float32)
    normalised = (image / 255 - normalizer.mean) / normalizer.std
    resized, _ = FitToCanvas(side)(normalised.astype(np.float32))
    canvas = np.zeros((side, side, 3), dtype=np.float32)
    canvas[: resized.shape[0], : resized.shape[1]] = resized
    expected = ops[f"resize_{side}"]
    found = torch.from_numpy(canvas).permute(2, 0, 1)[:, ::2, ::2]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    ratios = torch.tensor(resized.shape[:2]) / torch.tensor(image.shape[:2])
    torch.testing.assert_close(ratios, ops[f"resize_{side}_info"][2])


@pytest.mark.parametrize("trained", ["all", "voc"])
def test_samples(ops, trained):
    image = ops["sample_image"].numpy().astype(np.float32)
    boxes, masks = ops["sample_boxes_px"][:3], ops["sample_masks"][:3]
    target = BoxList(boxes, (80, 60), pixel_offset=0)
    target.add_field("labels", torch.tensor([3, 1, 2]))
    target.add_field("masks", SegmentationMask(masks, (80, 60), mode="mask"))
    _, target = FitToCanvas(128)(image, target)
    assert isinstance(target.get_field("masks"), PhotoMasks)
    sampler = MaskSampler(
        settings=ShapeMaskSettings(jitter=1.0),
        trained_labels=trained_labels(trained, 91),
        order=lambda _: torch.tensor([2, 0, 1]),
        noise=lambda *_: ops["sample_noise"][:3],
    )
    found = sampler(target, (128, 128))
    torch.testing.assert_close(found.boxes, ops["sample_mask_boxes"], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.outer, ops["sample_mask_outer_boxes"], rtol=0, atol=1e-4)
    assert torch.equal(found.labels, ops["sample_mask_classes"])
    assert torch.equal(found.coarse, ops["sample_mask_targets"].float())
    assert torch.equal(found.fine, ops["sample_fine_targets"].float())
    assert torch.equal(found.weights, ops[f"sample_valid_{trained}"].float())
    positives = match_anchors(torch.cat(anchors_of(128, 128)), target.bbox, 0.5)
    assert len(positives.anchors) == ops["sample_num_positives"]


def test_pasting(ops):
    masks = BoxMasks(
        ops["paste_masks"].float()[:, None], ops["paste_boxes"], (140, 100), LEGACY_PASTE
    )
    expected = np.unpackbits(ops["paste_out"].numpy(), axis=1).reshape(8, 100, 140)
    assert np.array_equal(masks.planes().numpy(), expected)


def test_learning_rates(ops):
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs/shapemask/shapemask_R_50_FPN_640_2x.yaml")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=cfg.SOLVER.BASE_LR)
    scheduler = make_lr_scheduler(cfg, optimizer)
    for step, expected in zip(ops["lr_steps"].tolist(), ops["lr_values"].tolist(), strict=True):
        scheduler.last_epoch = step
        assert scheduler.get_lr()[0] == pytest.approx(expected, rel=1e-5)
