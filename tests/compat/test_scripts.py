"""What scripts written for the original do with its classes, in a line or two each."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from maskrcnn_benchmark.data.samplers import GroupedBatchSampler, IterationBasedBatchSampler
from maskrcnn_benchmark.layers import nms
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.utils.metric_logger import MetricLogger
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.model_serialization import load_state_dict

# Published test vectors of Caffe2's box operators.
BOXES = torch.tensor(
    [[10, 10, 50, 60], [11, 12, 48, 60], [8, 9, 40, 50], [100, 100, 150, 140], [99, 110, 155, 139]],
    dtype=torch.float32,
)
SCORES = torch.tensor([0.5, 0.7, 0.6, 0.9, 0.8])


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [(0.1, [1, 3]), (0.3, [1, 3]), (0.5, [1, 3]), (0.8, [1, 2, 3, 4]), (0.9, [0, 1, 2, 3, 4])],
)
def test_nms_keeps_the_published_boxes(threshold, kept):
    np.testing.assert_array_equal(np.sort(nms(BOXES, SCORES, threshold)), kept)


def test_the_box_coder_decodes_the_published_boxes():
    anchors = torch.tensor(
        [[175.62031555, 20.91103172, 253.352005, 155.0145874],
         [22.73153877, 92.02596283, 135.5695343, 208.80291748]]
    )  # fmt: skip
    deltas = torch.tensor(
        [[0.47861834, 0.13992102, 0.14961673, 0.71495209],
         [-0.38172557, -0.08533806, -0.60335309, 0.79052375]]
    )  # fmt: skip
    expected = torch.tensor(
        [[206.949539, -30.715202, 297.387665, 244.448486],
         [5.062420, 11.040955, 66.328903, 269.686218]]
    )  # fmt: skip
    decoded = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0)).decode(deltas, anchors)
    torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-4)


OBJECT = [
    [423.0, 306.5, 406.5, 277.0, 400.0, 271.5, 389.5, 277.0, 387.5, 292.0, 384.5, 295.0, 374.5,
     220.0, 378.5, 210.0, 391.0, 200.5, 404.0, 199.5, 414.0, 203.5, 425.5, 221.0, 438.5, 297.0,
     423.0, 306.5],
    [100, 100, 200, 100, 200, 200, 100, 200],
]  # fmt: skip


@pytest.fixture
def shapes():
    """The same object as polygons and as a mask."""
    polygons = SegmentationMask([OBJECT], (640, 480), "poly")
    return polygons, SegmentationMask([OBJECT], (640, 480), "poly").convert("mask")


def differing_pixels(first, second):
    """How many pixels two masks do not share; the object of these tests has 14,329."""
    return int((first.get_mask_tensor() != second.get_mask_tensor()).sum())


def test_masks_convert_there_and_back(shapes):
    polygons, masks = shapes
    assert differing_pixels(masks, polygons) == 0
    assert differing_pixels(masks, masks.convert("poly").convert("mask")) == 0
    assert differing_pixels(polygons, polygons.convert("mask").convert("poly")) == 0


def test_cropping_and_resizing_agree_for_both_kinds(shapes):
    polygons, masks = shapes
    box = [400, 250, 500, 300]
    # Of 1,418 pixels and of 57, one: a polygon is cut and scaled before it becomes pixels.
    assert differing_pixels(masks.crop(box), polygons.crop(box)) <= 1
    small = masks.resize((50, 25)), polygons.resize((50, 25))
    assert small[0].size == small[1].size == (50, 25)
    assert differing_pixels(*small) <= 1


@pytest.mark.parametrize(("method", "on_the_edge"), [(0, 40), (1, 12)], ids=["left", "top"])
def test_flipping_agrees_for_both_kinds(shapes, method, on_the_edge):
    """Pixels whose centres lie on the edge of a polygon change sides when they are flipped."""
    polygons, masks = shapes
    differing = differing_pixels(masks.transpose(method), polygons.transpose(method))
    assert differing <= on_the_edge


def two_layers():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


@pytest.mark.parametrize("fresh_is_wrapped", [False, True])
@pytest.mark.parametrize("trained_is_wrapped", [False, True])
def test_checkpoints_load_with_and_without_the_prefix(
    tmp_path, trained_is_wrapped, fresh_is_wrapped
):
    trained, fresh = two_layers(), two_layers()
    saving = Checkpointer(
        nn.DataParallel(trained) if trained_is_wrapped else trained,
        save_dir=str(tmp_path),
        save_to_disk=True,
    )
    saving.save("checkpoint_file")
    wrapped = nn.DataParallel(fresh) if fresh_is_wrapped else fresh
    loading = Checkpointer(wrapped, save_dir=str(tmp_path))
    assert loading.has_checkpoint()
    assert loading.get_checkpoint_file() == os.path.join(str(tmp_path), "checkpoint_file.pth")
    loading.load()
    for mine, theirs in zip(trained.parameters(), fresh.parameters(), strict=True):
        assert mine is not theirs
        assert torch.equal(mine, theirs)


def test_a_named_checkpoint_of_another_folder_loads(tmp_path):
    trained, fresh = two_layers(), two_layers()
    Checkpointer(trained, save_dir=str(tmp_path / "a"), save_to_disk=True).save("checkpoint_file")
    loading = Checkpointer(fresh, save_dir=str(tmp_path / "b"))
    assert not loading.has_checkpoint()
    assert loading.get_checkpoint_file() == ""
    loading.load(os.path.join(str(tmp_path), "a", "checkpoint_file.pth"))
    assert torch.equal(trained[0].weight, fresh[0].weight)


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_weights_are_matched_by_their_longest_suffix(is_wrapped):
    model = nn.Module()
    model.block1 = nn.Module()
    model.block1.layer1 = nn.Linear(2, 3)
    model.layer2 = nn.Linear(3, 2)
    model.res = nn.Module()
    model.res.layer2 = nn.Linear(3, 2)
    shapes = {"layer1": (3, 2), "layer2": (2, 3), "res.layer2": (2, 3)}
    stored = {}
    for name, shape in shapes.items():
        stored[f"{name}.weight"], stored[f"{name}.bias"] = torch.rand(shape), torch.rand(shape[0])
    load_state_dict(nn.DataParallel(model) if is_wrapped else model, stored)
    for mine, theirs in zip(model.state_dict().values(), stored.values(), strict=True):
        assert torch.equal(mine, theirs)


def test_metric_loggers_average():
    meters = MetricLogger(delimiter=" ")
    for loss in range(10):
        meters.update(loss=float(loss), kind=torch.tensor(2.0))
    assert meters.loss.count == 10
    assert meters.loss.total == 45
    assert meters.loss.avg == meters.loss.global_avg == 4.5
    assert meters.loss.median == 4
    assert "loss" in str(meters)
    with pytest.raises(AttributeError):
        meters.not_there  # noqa: B018


def test_batches_keep_to_one_group_and_to_the_number_of_iterations():
    order = [0, 4, 2, 3, 1, 5]
    batches = list(GroupedBatchSampler(order, [0, 1, 1, 0, 0, 1], 2, drop_uneven=False))
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    groups = [0, 1, 1, 0, 0, 1]
    assert all(len({groups[index] for index in batch}) == 1 for batch in batches)
    endless = IterationBasedBatchSampler(
        torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(range(10)), 5, False), 7
    )
    assert len(endless) == len(list(endless)) == 7
    assert list(endless)[2] == [0, 1, 2, 3, 4]
