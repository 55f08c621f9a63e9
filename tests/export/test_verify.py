"""What counts as the same detections."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.structures.keypoint import Keypoints
from tests.factories import blob_probabilities, random_boxlist

verify = pytest.importorskip("maskrcnn_benchmark.export.verify")

WIDTH, HEIGHT = 120, 90


def detections(count=6):
    boxes = random_boxlist(count).copy_with_fields([])
    boxes.add_field("labels", torch.arange(count) % 3 + 1)
    boxes.add_field("scores", torch.linspace(0.9, 0.2, count))
    boxes.add_field("mask_scores", torch.linspace(0.8, 0.1, count))
    boxes.add_field("mask", blob_probabilities(count))
    return boxes


def with_keypoints(boxes, px=0.0, logit=0.0, number=1):
    """The boxes with two keypoints each, the first of the first ``number`` of them moved."""
    points = torch.rand(len(boxes), 2, 3, generator=torch.Generator().manual_seed(2)) * 50
    logits = torch.linspace(-3, 3, 2 * len(boxes)).reshape(-1, 2)
    points[:number, 0, 0] += px
    logits[:number, 0] += logit
    keypoints = Keypoints(points, boxes.size)
    keypoints.add_field("logits", logits)
    copied = boxes.copy_with_fields(boxes.fields())
    copied.add_field("keypoints", keypoints)
    return copied


def outputs(boxes):
    return {
        "boxes": boxes.bbox.numpy().copy(),
        "labels": boxes.get_field("labels").numpy(),
        "scores": boxes.get_field("scores").numpy().copy(),
        "mask_scores": boxes.get_field("mask_scores").numpy().copy(),
        "masks": boxes.get_field("mask")[:, 0].numpy().copy(),
        "num_detections": np.array(len(boxes)),
        **_outputs_of_keypoints(boxes),
    }


def _outputs_of_keypoints(boxes):
    if not boxes.has_field("keypoints"):
        return {}
    keypoints = boxes.get_field("keypoints")
    return {
        "keypoints": keypoints.keypoints[..., :2].numpy(),
        "keypoint_scores": keypoints.get_field("logits").numpy(),
    }


class FixedSource:
    """A model that finds the same on every photo; with other thresholds ``moved`` of it."""

    def __init__(self, boxes, moved=(), limit=0):
        self.boxes = boxes
        self.others = dict(moved)
        self.shift = 0
        self.points_in = None
        self.shaken = None
        self.metadata = SimpleNamespace(
            max_detections=limit, kind="detector", pixel_offset=1, keypoint_offset=1
        )

    def detect(self, _photo):
        return self.others.get(self.shift, self.boxes)

    def detect_shaken(self, _photo, seed=0):
        return self.boxes if self.shaken is None or seed % 2 else self.shaken

    def keypoints_in(self, _photo, boxes):
        return self.points_in or self.boxes.get_field("keypoints")

    @contextmanager
    def moved(self, by):
        self.shift = 1 if by > 0 else -1
        yield
        self.shift = 0


def compare(source, found):
    photo = Image.new("RGB", (WIDTH, HEIGHT))
    return verify.verify(source, lambda _array: found, [("photo", photo)])


def test_the_same_in_another_order_is_the_same():
    boxes = detections()
    difference = compare(FixedSource(boxes), outputs(boxes[torch.tensor([3, 1, 0, 2, 5, 4])]))
    assert difference == verify.Difference(detections=6)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("boxes", 0.11),
        ("scores", 2e-4),
        ("mask_scores", 2e-4),
        ("labels", 1),
        ("boxes", np.nan),
        ("scores", np.nan),
        ("mask_scores", np.nan),
    ],
)
def test_other_numbers_are_refused(name, step):
    boxes = detections()
    found = outputs(boxes)
    found[name] = found[name] + np.asarray(step, dtype=found[name].dtype)
    with pytest.raises(verify.NotTheSameError, match="photo"):
        compare(FixedSource(boxes), found)


def test_a_file_without_masks_is_refused():
    boxes = detections()
    found = outputs(boxes)
    del found["masks"]
    with pytest.raises(verify.NotTheSameError, match="masks"):
        compare(FixedSource(boxes), found)


def test_other_masks_are_refused():
    boxes = detections()
    found = outputs(boxes)
    found["masks"] = np.roll(found["masks"], 3, axis=2)
    with pytest.raises(verify.NotTheSameError, match="IoU"):
        compare(FixedSource(boxes), found)


def test_keypoints_are_compared():
    boxes = detections()
    source = FixedSource(with_keypoints(boxes))
    found = compare(source, outputs(with_keypoints(boxes, px=0.05, logit=5e-4)))
    assert (found.points, found.moved) == (12, 0)
    assert found.point_px == pytest.approx(0.05, abs=1e-5)
    for other in (boxes, with_keypoints(boxes, px=0.2), with_keypoints(boxes, logit=5e-3)):
        with pytest.raises(verify.NotTheSameError, match="keypoints"):
            compare(source, outputs(other))


def test_keypoints_that_the_model_finds_in_the_boxes_of_the_file_are_its_own():
    boxes = detections()
    source = FixedSource(with_keypoints(boxes))
    other = with_keypoints(boxes, px=0.2, logit=0.1)
    source.points_in = with_keypoints(boxes, px=0.25, logit=0.1).get_field("keypoints")
    found = compare(source, outputs(other))
    assert (found.points, found.moved) == (12, 0)
    assert found.point_px == pytest.approx(0.05, abs=1e-5)


def test_few_keypoints_may_lie_elsewhere():
    boxes = detections(120)
    source = FixedSource(with_keypoints(boxes))
    assert compare(source, outputs(with_keypoints(boxes, px=9.0, number=2))).moved == 2
    with pytest.raises(verify.NotTheSameError, match="3 of 240 keypoints"):
        compare(source, outputs(with_keypoints(boxes, px=9.0, number=3)))


@pytest.mark.parametrize("lost", [0, 5])
def test_a_missing_detection_is_refused_and_so_is_one_too_many(lost):
    boxes = detections()
    rest = boxes[torch.tensor([index for index in range(6) if index != lost])]
    with pytest.raises(verify.NotTheSameError, match="missing"):
        compare(FixedSource(boxes), outputs(rest))
    with pytest.raises(verify.NotTheSameError, match="not the model's"):
        compare(FixedSource(rest), outputs(boxes))


def test_a_detection_at_a_threshold_may_be_missing_or_extra():
    boxes = detections()
    rest = boxes[torch.arange(5)]
    assert compare(FixedSource(boxes, {1: rest}), outputs(rest)).excused == 1
    assert compare(FixedSource(rest, {-1: boxes}), outputs(boxes)).excused == 1


def test_a_model_without_masks_may_have_one_at_a_threshold_too():
    boxes = detections()
    boxes.add_field("mask_scores", boxes.get_field("scores"))
    found = outputs(boxes)
    del found["masks"]
    own = boxes.copy_with_fields(["labels", "scores"])
    rest = own[torch.arange(5)]
    assert compare(FixedSource(rest, {-1: own}), found).excused == 1


def test_a_detection_at_the_limit_may_be_another():
    boxes = detections(7)
    boxes.add_field("scores", torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.30000, 0.30005]))
    first, second = boxes[torch.arange(6)], boxes[torch.tensor([0, 1, 2, 3, 4, 6])]
    assert compare(FixedSource(first, limit=6), outputs(second)).excused == 2
    with pytest.raises(verify.NotTheSameError):
        compare(FixedSource(first), outputs(second))


def test_of_two_with_equal_scores_rounding_may_choose_the_other():
    boxes = detections(20)
    other = boxes[torch.arange(20)]
    other.bbox[7] += 40
    source = FixedSource(boxes)
    with pytest.raises(verify.NotTheSameError):
        compare(source, outputs(other))
    source.shaken = other
    assert compare(source, outputs(other)).excused == 2
    # One that no shaken input gives, or all of them, is a mistake.
    third = boxes[torch.arange(20)]
    third.bbox[7] += 20
    with pytest.raises(verify.NotTheSameError):
        compare(source, outputs(third))


def test_a_model_that_rounding_decides_about_is_named():
    boxes = detections()
    rest = boxes[torch.arange(5)]
    steady, other = FixedSource(boxes), FixedSource(boxes)
    other.shaken = boxes[torch.arange(2)]
    for source, is_named in ((steady, False), (other, True)):
        with pytest.raises(verify.NotTheSameError, match="missing") as error:
            compare(source, outputs(rest))
        assert ("millionth" in str(error.value)) is is_named


def test_nothing_at_all_proves_nothing():
    nothing = detections()[torch.arange(0)]
    with pytest.raises(verify.NotTheSameError, match="--photos"):
        compare(FixedSource(nothing), outputs(nothing))


def test_outputs_that_contradict_one_another_are_refused():
    boxes = detections()
    found = outputs(boxes) | {"num_detections": np.array(5)}
    with pytest.raises(verify.NotTheSameError, match="num_detections"):
        compare(FixedSource(boxes), found)


def test_the_bundled_photos_have_the_sizes_that_matter():
    sizes = [photo.size for photo in dict(verify.check_photos()).values()]
    assert len(sizes) >= 5
    assert any(width < height for width, height in sizes)
    assert any(width > height for width, height in sizes)
    assert min(min(size) for size in sizes) < 64
    assert max(width * height for width, height in sizes) == 12_000_000


def test_given_photos_are_taken(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 7)).save(path)
    assert [photo.size for photo in dict(verify.check_photos([path])).values()] == [(5, 7)]


def test_boxes_of_no_detection_are_boxes():
    found = outputs(detections()[torch.arange(0)])
    assert len(verify.as_boxes(found, (WIDTH, HEIGHT), SimpleNamespace(pixel_offset=1))) == 0
