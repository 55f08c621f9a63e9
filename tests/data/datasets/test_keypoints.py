import random

import pytest
import torch

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.keypoints import checked_keypoints, num_labelled
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.transforms.transforms import Compose, RandomHorizontalFlip, Resize
from tests.data import tiny_coco


def person(num_points=17, x=3.0, y=2.0):
    """The first points at (x, y), the others not annotated."""
    return [x, y, 2] * num_points + [0, 0, 0] * (17 - num_points)


def load(tmp_path, annotations, images=None, training=True, **more):
    data = tiny_coco.content(images=images, annotations=annotations)
    return COCODataset(*tiny_coco.write(tmp_path, data), training, **more)


def test_targets_have_the_keypoints_of_their_boxes(tmp_path):
    annotations = [
        tiny_coco.annotation(1, keypoints=person(12)),
        tiny_coco.annotation(2, bbox=(4, 3, 4, 4), keypoints=person(1, x=5)),
    ]
    dataset = load(tmp_path, annotations)
    assert dataset.has_keypoints
    keypoints = dataset.get_target(0).get_field("keypoints")
    assert keypoints.size == (10, 8)
    assert keypoints.keypoints[0, 11].tolist() == [3, 2, 2]
    assert keypoints.keypoints[1, :2].tolist() == [[5, 2, 2], [0, 0, 0]]


def test_annotations_without_keypoints_among_others_have_none_annotated(tmp_path):
    dataset = load(tmp_path, [tiny_coco.annotation(1, keypoints=person()), tiny_coco.annotation(2)])
    keypoints = dataset.get_target(0).get_field("keypoints").keypoints
    assert keypoints[0, :, 2].all()
    assert not keypoints[1].any()
    assert [a["num_keypoints"] for a in dataset.ground_truth()["annotations"]] == [17, 0]


def test_images_with_few_annotated_points_are_left_out_of_training(tmp_path):
    images = [tiny_coco.image(1), tiny_coco.image(2), tiny_coco.image(3)]
    annotations = [
        tiny_coco.annotation(1, 1, keypoints=person(9)),
        tiny_coco.annotation(2, 2, keypoints=person(5)),
        tiny_coco.annotation(3, 2, keypoints=person(5)),
    ]
    assert load(tmp_path, annotations, images).image_ids == [2]
    evaluated = load(tmp_path, annotations, images, training=False)
    assert evaluated.image_ids == [1, 2, 3]
    assert len(evaluated.get_target(2).get_field("keypoints")) == 0


def test_no_keypoints_in_the_file_no_field(tmp_path):
    dataset = load(tmp_path, [tiny_coco.annotation()])
    assert not dataset.has_keypoints
    assert not dataset.get_target(0).has_field("keypoints")


def test_keypoints_of_other_things_than_persons_are_not_read(tmp_path):
    dataset = load(tmp_path, [tiny_coco.annotation(keypoints=[1, 1, 2] * 4)])
    assert not dataset.has_keypoints
    assert len(dataset) == 1


@pytest.mark.parametrize("keypoints", [[1, 2, 3], [*person()[:-1], "x"], "nose", [1e9] * 51])
def test_damaged_keypoints_are_left_out_and_counted(tmp_path, keypoints):
    annotations = [
        tiny_coco.annotation(1, keypoints=person()),
        tiny_coco.annotation(2, keypoints=keypoints),
    ]
    dataset = load(tmp_path, annotations)
    assert dataset.num_damaged == 1
    assert len(dataset.get_target(0)) == 1
    with pytest.raises(ValueError, match=r"51|coordinate"):
        checked_keypoints(keypoints)


def test_nothing_usable(tmp_path):
    # One good annotation of an image that is not there makes the file one with keypoints.
    annotations = [tiny_coco.annotation(1, image_id=99, keypoints=person())]
    annotations += [tiny_coco.annotation(2, keypoints=[1])]
    with pytest.raises(DatasetError, match=r"image id.*keypoints"):
        load(tmp_path, annotations)


def test_number_of_annotated_points():
    assert num_labelled(person(4)) == 4
    assert num_labelled(checked_keypoints(None)) == 0


def test_transforms_move_the_keypoints(tmp_path):
    transforms = Compose([Resize(16, 100), RandomHorizontalFlip(1.0)])
    dataset = load(tmp_path, [tiny_coco.annotation(keypoints=person())], transforms=transforms)
    random.seed(0)
    image, target, _ = dataset[0]
    keypoints = target.get_field("keypoints")
    assert image.size == keypoints.size == (20, 16)
    expected = torch.tensor([20 - 1 - 6.0, 4, 2]).expand(17, 3)
    assert torch.equal(keypoints.keypoints[0], expected)


def test_samples_count_keypoints_as_they_are_asked_to(tmp_path):
    transforms = Compose([Resize(16, 100), RandomHorizontalFlip(1.0)])
    dataset = load(tmp_path, [tiny_coco.annotation(keypoints=person())], transforms=transforms)
    dataset.keypoint_offset = 0
    random.seed(0)
    keypoints = dataset[0][1].get_field("keypoints")
    # The centre of the pixel (3, 2) of 10 x 8, at twice the size, mirrored.
    assert keypoints.keypoints[0, 0].tolist() == [20 - 2 * 3.5, 2 * 2.5, 2]
    assert dataset.get_target(0).get_field("keypoints").keypoints[0, 0].tolist() == [3, 2, 2]
