"""COCODataset on hand-made data sets."""

import json
import logging
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.datasets.rle import compressed_rle
from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from tests.data.tiny_coco import SQUARE, annotation, content, image, photo, without, write
from tests.golden_data import GOLDEN_DIR

RIGHT_HALF = {"size": [8, 10], "counts": [40, 40]}


def make(tmp_path, *, for_training=True, options=None, **sections):
    ann_file, root = write(tmp_path, content(**sections))
    return COCODataset(ann_file, root, for_training, **(options or {}))


def test_sample_by_hand(tmp_path):
    dataset = make(tmp_path, annotations=[annotation(), annotation(2, 1, 7, (0, 2, 5, 3))])
    picture, target, image_id = dataset[0]
    assert image_id == 1
    np.testing.assert_array_equal(np.asarray(picture), photo(1, 10, 8))
    assert (target.size, target.mode) == ((10, 8), "xyxy")
    # x2 = x + w - 1: the last pixel, not the edge.
    torch.testing.assert_close(target.bbox, torch.tensor([[2.0, 1, 5, 4], [0, 2, 4, 4]]))
    assert target.labels.tolist() == [1, 2]
    assert target.labels.dtype == torch.int64
    masks = target.get_field("masks").to_bitmasks()
    assert masks.shape == (2, 8, 10)
    expected = torch.zeros(8, 10, dtype=torch.bool)
    expected[1:5, 2:6] = True
    assert torch.equal(masks[0], expected)


def test_categories_are_numbered_in_ascending_order_of_ids(tmp_path):
    categories = [{"id": 9, "name": "c"}, {"id": 0, "name": "a"}, {"id": 4, "name": "b"}]
    entries = [annotation(i, category_id=c) for i, c in ((1, 9), (2, 0), (3, 4))]
    dataset = make(tmp_path, categories=categories, annotations=entries)
    assert dataset.categories == {1: "a", 2: "b", 3: "c"}
    assert dataset.json_category_id_to_contiguous_id == {0: 1, 4: 2, 9: 3}
    assert dataset.contiguous_category_id_to_json_id == {1: 0, 2: 4, 3: 9}
    assert dataset[0][1].labels.tolist() == [3, 1, 2]


def test_images_come_in_ascending_order_of_ids(tmp_path):
    """upstream: image-id-in-sample. The third item of a sample is the id, not the index."""
    images = [image(7, width=20), image(2), image(5, height=9)]
    dataset = make(tmp_path, images=images, annotations=[annotation(i, i) for i in (2, 5, 7)])
    assert dataset.image_ids == [2, 5, 7]
    assert dataset.id_to_img_map == {0: 2, 1: 5, 2: 7}
    assert [dataset[i][2] for i in range(3)] == [2, 5, 7]
    assert dataset.get_img_info(2) == {"id": 7, "file_name": "7.png", "height": 8, "width": 20}
    assert dataset[1][0].size == (10, 9)


def test_transforms_are_applied(tmp_path):
    def mark(picture, target):
        return picture.size, target.resize((20, 16))

    dataset = make(tmp_path, options={"transforms": mark})
    picture, target, _ = dataset[0]
    assert picture == (10, 8)
    assert target.size == (20, 16)


def test_crowds_are_not_left_out_without_a_word(tmp_path, caplog):
    make(tmp_path, annotations=[annotation(1), annotation(2, iscrowd=1)])
    assert "annotations not trained on: 1 of crowds (ids 2)" in caplog.text


def test_crowds_are_ground_truth_but_no_target(tmp_path):
    crowd = annotation(2, iscrowd=1, bbox=(0, 0, 10, 8), segmentation=RIGHT_HALF)
    dataset = make(tmp_path, annotations=[annotation(1), crowd])
    assert len(dataset[0][1]) == 1
    assert dataset[0][1].get_field("masks").mode == "poly"
    truth = dataset.ground_truth()["annotations"]
    assert [entry["iscrowd"] for entry in truth] == [0, 1]
    assert truth[1]["segmentation"]["counts"] == "X1X1"


def test_crowds_are_the_last_targets_where_they_are_wanted(tmp_path):
    crowd = annotation(1, iscrowd=1, bbox=(0, 0, 10, 8), segmentation=RIGHT_HALF)
    dataset = make(tmp_path, annotations=[crowd, annotation(2), annotation(3, iscrowd=1)])
    dataset.gives_crowds = True
    target = dataset.get_target(0)
    assert target.labels.tolist() == [1, -1, -1]
    assert target.bbox.tolist() == [[2, 1, 5, 4], [0, 0, 9, 7], [2, 1, 5, 4]]
    assert len(target.get_field("masks")) == 3


def test_rle_targets_become_bitmaps(tmp_path):
    ring = np.ones((8, 10), dtype=int)
    ring[2:6, 2:8] = 0
    runs = np.diff(np.flatnonzero(np.diff(ring.T.ravel(), prepend=0, append=0))).tolist()
    rle = {"size": [8, 10], "counts": [0, *runs]}
    dataset = make(tmp_path, annotations=[annotation(1), annotation(2, segmentation=rle)])
    masks = dataset[0][1].get_field("masks")
    assert masks.mode == "mask"
    np.testing.assert_array_equal(masks.to_bitmasks()[1], ring == 1)  # the hole is there
    assert masks.to_bitmasks()[0].sum() == 16


def test_images_without_targets_are_left_out_of_training_only(tmp_path, caplog):
    """upstream: crowd-only-images."""
    images = [image(i) for i in (1, 2, 3, 4)]
    entries = [
        annotation(1, 1),
        annotation(2, 2, iscrowd=1),
        annotation(3, 3, bbox=(2, 2, 1, 4)),
    ]
    with caplog.at_level(logging.INFO):
        training = make(tmp_path, images=images, annotations=entries)
    assert training.image_ids == [1]
    assert "3 of 4 images have no annotation to train on" in caplog.text
    evaluation = make(tmp_path, images=images, annotations=entries, for_training=False)
    assert evaluation.image_ids == [1, 2, 3, 4]
    _, target, image_id = evaluation[3]
    assert (len(target), image_id) == (0, 4)
    assert target.bbox.shape == (0, 4)
    assert len(target.get_field("masks")) == 0


def test_useless_boxes_are_counted_and_no_target(tmp_path, caplog):
    useless = [(2, 1, 0, 4), (2, 1, 4, -4), (30, 30, 4, 4), (2, 1, 1, 1)]
    entries = [annotation(i, bbox=bbox) for i, bbox in enumerate(useless, start=2)]
    dataset = make(tmp_path, annotations=[annotation(1), *entries])
    assert len(dataset[0][1]) == 1
    assert "4 with an empty box or one outside of the image (ids 2, 3, 4, ...)" in caplog.text
    assert len(dataset.ground_truth()["annotations"]) == 5


def test_boxes_are_clipped_to_the_image(tmp_path):
    dataset = make(tmp_path, annotations=[annotation(bbox=(-3, -2, 50, 6))])
    torch.testing.assert_close(dataset[0][1].bbox, torch.tensor([[0.0, 0, 9, 3]]))


def test_damaged_annotations_are_logged(tmp_path, caplog):
    entries = [annotation(1), annotation(2, segmentation=[[1, 2, 3]])]
    dataset = make(tmp_path, annotations=entries, for_training=False)
    assert "annotations: annotations left out: 1 with a damaged outline (ids 2)" in caplog.text
    assert len(dataset[0][1]) == 1
    assert len(dataset.ground_truth()["annotations"]) == 1


def test_a_box_data_set_has_no_masks(tmp_path):
    dataset = make(tmp_path, annotations=[without(annotation(), "segmentation")])
    assert dataset.has_masks is False
    assert dataset[0][1].fields() == ["labels"]


def test_nothing_to_train_on(tmp_path):
    for entries in ([], [annotation(iscrowd=1)]):
        with pytest.raises(DatasetError, match=r"annotations.* 1 images"):
            make(tmp_path, annotations=entries)
    assert len(make(tmp_path, annotations=[], for_training=False)) == 1


def test_a_subset_by_image_ids(tmp_path):
    images = [image(i) for i in (1, 2, 3)]
    entries = [annotation(i, i) for i in (1, 2, 3)]
    options = {"image_ids": [3, 1], "name": "few"}
    dataset = make(tmp_path, images=images, annotations=entries, options=options)
    assert dataset.image_ids == [1, 3]
    assert dataset.name == "few"
    truth = dataset.ground_truth()
    assert [entry["id"] for entry in truth["images"]] == [1, 3]
    assert [entry["image_id"] for entry in truth["annotations"]] == [1, 3]
    for wrong, message in (([1, 8], r"image_ids.*8.*annotations\.json"), ([], "image_ids.*empty")):
        with pytest.raises(DatasetError, match=message):
            make(tmp_path, images=images, annotations=entries, options={"image_ids": wrong})


def test_ground_truth_is_fresh_each_time(tmp_path):
    dataset = make(tmp_path)
    before = dataset[0][1]
    truth = dataset.ground_truth()
    truth["annotations"][0]["segmentation"] = {"size": [8, 10], "counts": "spoilt"}
    truth["images"].clear()
    assert dataset.ground_truth()["annotations"][0]["segmentation"] == SQUARE
    after = dataset[0][1]
    assert torch.equal(before.bbox, after.bbox)
    assert after.get_field("masks").mode == "poly"


def test_the_file_is_read_once(tmp_path):
    dataset = make(tmp_path)
    (tmp_path / "annotations.json").unlink()
    assert dataset.ground_truth()["annotations"] == [annotation()]


def test_annotations_in_memory(tmp_path):
    write(tmp_path)
    data = content(annotations=[annotation(1), annotation(2, segmentation=[[1, 2, 3]])])
    dataset = COCODataset.from_content(data, tmp_path / "images", name="mine")
    assert (dataset.name, dataset.ann_file, dataset.num_damaged) == ("mine", "mine", 1)
    assert dataset[0][1].bbox.tolist() == [[2, 1, 5, 4]]
    assert dataset.transforms is None
    with pytest.raises(DatasetError, match=r"mine.*'images'"):
        COCODataset.from_content({}, tmp_path, name="mine")


def test_annotation_id_zero_would_never_match_and_is_renumbered(tmp_path):
    dataset = make(tmp_path, annotations=[annotation(0), annotation(5)])
    assert [entry["id"] for entry in dataset.ground_truth()["annotations"]] == [1, 2]


def test_missing_folder(tmp_path):
    ann_file, _ = write(tmp_path)
    with pytest.raises(DatasetError, match=r"annotations.*nowhere"):
        COCODataset(ann_file, tmp_path / "nowhere", False)


@pytest.mark.parametrize("damage", ["missing", "corrupt", "size"])
def test_bad_images_name_file_and_image_id(tmp_path, damage):
    dataset = make(tmp_path, images=[image(42)], annotations=[annotation(1, 42)])
    path = tmp_path / "images" / "42.png"
    if damage == "missing":
        path.unlink()
    elif damage == "corrupt":
        path.write_bytes(path.read_bytes()[:60])
    else:
        Image.fromarray(photo(1, 11, 8)).save(path)
    with pytest.raises(ImageReadError, match=r"42\.png.*id 42 .*annotations\.json"):
        dataset[0]


def test_annotations_on_stored_pixels_keep_their_orientation(tmp_path):
    dataset = make(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(1, 10, 8)).save(tmp_path / "images" / "1.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(dataset[0][0]), photo(1, 10, 8))


def test_a_data_set_reaches_worker_processes(tmp_path):
    dataset = make(tmp_path)
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[0][1].bbox, dataset[0][1].bbox)


def test_non_latin_names(tmp_path):
    categories = [{"id": 3, "name": "кошка"}]
    images = [image(file_name="фото 1.png")]
    dataset = make(tmp_path, images=images, categories=categories)
    assert dataset.categories == {1: "кошка"}
    assert dataset[0][0].size == (10, 8)


def test_quickstart_photos_agree_with_their_annotations():
    folder = GOLDEN_DIR.parents[1] / "datasets" / "quickstart"
    needed = {
        "images": ("id", "file_name", "height", "width"),
        "categories": ("id", "name"),
        "annotations": (
            *("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"),
        ),
    }
    for split, count in (("train", 40), ("val", 31)):
        ann_file = folder / "annotations" / f"instances_{split}.json"
        dataset = COCODataset(ann_file, folder / split, False)
        assert len(dataset) == count
        sizes = [dataset[index][0].size for index in range(count)]
        infos = [dataset.get_img_info(index) for index in range(count)]
        assert sizes == [(info["width"], info["height"]) for info in infos]
        expected = json.loads(ann_file.read_text())
        for entry in expected["annotations"]:
            if isinstance(entry["segmentation"], dict):  # crowds come compressed
                entry["segmentation"] = compressed_rle(
                    entry["segmentation"], *entry["segmentation"]["size"]
                )
        truth = dataset.ground_truth()
        for section, keys in needed.items():
            mine = sorted(truth[section], key=lambda entry: entry["id"])
            theirs = sorted(expected[section], key=lambda entry: entry["id"])
            assert mine == [{key: entry[key] for key in keys} for entry in theirs]


def test_corners_are_edges_if_asked_for(tmp_path):
    narrow = annotation(2, 1, 7, (3.0, 2.0, 0.5, 3.0))
    sections = {"annotations": [annotation(), narrow]}
    target = make(tmp_path, options={"pixel_offset": 0}, **sections).get_target(0)
    # The second one is less than a pixel wide, which is nothing between two pixels.
    expected = torch.tensor([[2.0, 1, 6, 5], [3.0, 2, 3.5, 5]])
    torch.testing.assert_close(target.bbox, expected)
    assert target.pixel_offset == 0
    assert len(make(tmp_path, **sections).get_target(0)) == 1


def test_photos_without_objects_may_be_trained_on(tmp_path):
    images = [image(i) for i in (1, 2, 3)]
    entries = [annotation(1, 1), annotation(2, 2, iscrowd=1)]
    options = {"keep_unannotated": True}
    dataset = make(tmp_path, images=images, annotations=entries, options=options)
    assert dataset.image_ids == [1, 3]  # photos of crowds alone are no background
    assert len(dataset[1][1]) == 0
    with pytest.raises(DatasetError, match="annotation to train on"):
        make(tmp_path, images=images, annotations=[], options=options)
