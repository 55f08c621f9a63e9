import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

LITE = "configs/centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml"
SIZE_WH = (96, 64)


def make_model(**changes):
    """CenterMask-Lite MobileNetV2 with mask-IoU head and three classes."""
    torch.manual_seed(0)
    cfg = get_default_config()
    cfg.merge_from_file(LITE)
    options = {"MODEL.MASKIOU_ON": True, "MODEL.NUM_CLASSES": 4} | changes
    cfg.merge_from_list([item for pair in options.items() for item in pair])
    return build_detection_model(cfg)


@pytest.fixture(scope="module")
def model():
    return make_model()


def make_targets(boxes_per_image):
    targets = []
    for boxes in boxes_per_image:
        target = BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), SIZE_WH)
        labels = torch.arange(len(boxes)) % 3 + 1
        polygons = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes]
        target.add_field("labels", labels)
        target.add_field("masks", SegmentationMask(polygons, SIZE_WH))
        targets.append(target)
    return targets


def make_images(num_images=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    width, height = SIZE_WH
    return torch.randn(num_images, 3, height, width, generator=generator) * 50


LOSS_NAMES = {"loss_cls", "loss_reg", "loss_centerness", "loss_mask", "loss_maskiou"}


@pytest.mark.parametrize(
    "boxes",
    [
        [[[10, 10, 50, 40], [60, 20, 90, 60]], [[0, 0, 30, 30]]],
        [[[10, 10, 50, 40]], []],
        [[], []],
    ],
    ids=["both images", "one image", "no image"],
)
def test_training_gives_finite_losses_and_a_gradient_to_every_parameter(model, boxes):
    model.train().zero_grad()
    losses = model(make_images(2), make_targets(boxes))
    assert set(losses) == LOSS_NAMES
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
    if not any(boxes):
        assert all(losses[name] == 0 for name in LOSS_NAMES - {"loss_cls"})
    sum(losses.values()).backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_training_changes_neither_images_nor_targets(model):
    images = ImageList(make_images(2), [(64, 96), (64, 96)])
    targets = make_targets([[[10, 10, 50, 40]], []])
    before = images.tensors.clone(), [target.bbox.clone() for target in targets]
    model.train()(images, targets)
    assert torch.equal(images.tensors, before[0])
    assert len(targets) == 2
    for target, boxes in zip(targets, before[1], strict=True):
        assert torch.equal(target.bbox, boxes)
        assert set(target.fields()) == {"labels", "masks"}


def test_targets_are_required_in_training(model):
    model.train()
    with pytest.raises(ValueError, match=r"targets: .*\b2\b.*got none"):
        model(make_images(2))
    with pytest.raises(ValueError, match=r"targets: .*\b2\b.*got 1"):
        model(make_images(2), make_targets([[]]))


def eager(model):
    """The model with a bias that makes it detect something everywhere."""
    model.rpn.head.cls_logits.bias.data.fill_(0.0)
    return model.eval()


def test_evaluation_gives_boxes_masks_and_scores():
    model = eager(make_model())
    with torch.inference_mode():
        (detections,) = model([make_images()[0]])
    count = len(detections)
    assert count >= 50
    assert detections.size == SIZE_WH
    assert detections.get_field("mask").shape == (count, 1, 28, 28)
    assert detections.get_field("mask_scores").shape == (count,)
    assert detections.labels.min() >= 1
    assert detections.labels.max() <= 3


def test_images_without_detections_keep_their_place():
    # UPSTREAM(empty-images): the original dropped them, so that later images pooled from the
    # features of the wrong image.
    model = eager(make_model())
    images = make_images(2)
    with torch.inference_mode():
        expected = model(images[1:])[0]
        model.rpn.head.cls_logits.bias.data.fill_(-50.0)
        assert [len(boxes) for boxes in model(images)] == [0, 0]
    select = model.rpn.select_test

    def without_first(outputs, locations, image_sizes):
        first, second = select(outputs, locations, image_sizes)
        return [first[:0], second]

    model.rpn.head.cls_logits.bias.data.fill_(0.0)
    model.rpn.select_test = without_first
    with torch.inference_mode():
        nothing, second = model(images)
    assert len(nothing) == 0
    assert nothing.get_field("mask").shape == (0, 1, 28, 28)
    torch.testing.assert_close(second.bbox, expected.bbox, rtol=1e-4, atol=1e-2)
    masks = second.get_field("mask")
    torch.testing.assert_close(masks, expected.get_field("mask"), rtol=1e-3, atol=1e-3)


def test_batch_of_two_equals_two_singles():
    model = eager(make_model())
    images = make_images(2)
    with torch.inference_mode():
        both = model(images)
        for image, expected in enumerate(both):
            (single,) = model(images[image : image + 1])
            torch.testing.assert_close(single.bbox, expected.bbox, rtol=1e-4, atol=1e-2)
            torch.testing.assert_close(single.scores, expected.scores, rtol=1e-3, atol=1e-5)


def test_the_same_seed_gives_the_same_model():
    first, second = make_model().state_dict(), make_model().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_unknown_meta_architecture():
    with pytest.raises(ConfigError, match=r"META_ARCHITECTURE.*'YOLO'"):
        make_model(**{"MODEL.META_ARCHITECTURE": "YOLO"})


def test_memory_layout_changes_no_result():
    losses = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        model = make_model().train().to(memory_format=layout)
        losses[layout] = model(make_images(2), make_targets([[[10, 10, 50, 40]], []]))
    for name, loss in losses[torch.contiguous_format].items():
        torch.testing.assert_close(losses[torch.channels_last][name], loss, rtol=1e-4, atol=1e-6)


def test_a_target_without_objects_needs_no_fields(model):
    bare = BoxList(torch.zeros(0, 4), SIZE_WH)
    losses = model.train()(make_images(2), [bare, *make_targets([[[10, 10, 50, 40]]])])
    expected = model(make_images(2), make_targets([[], [[10, 10, 50, 40]]]))
    assert {name: loss.item() for name, loss in losses.items()} == {
        name: loss.item() for name, loss in expected.items()
    }
    assert bare.fields() == []


def test_scores_and_masks_are_not_in_half_precision_under_autocast():
    model = eager(make_model())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (detections,) = model(make_images())
    for field in ("scores", "mask"):
        assert detections.get_field(field).dtype == torch.float32
    assert detections.bbox.dtype == torch.float32
    assert len(detections.scores.unique()) >= len(detections) - 2  # bfloat16 has few values
