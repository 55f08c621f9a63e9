"""Several data sets as one."""

import pytest
import torch

from maskrcnn_benchmark.data.datasets import COCODataset, ConcatDataset
from maskrcnn_benchmark.data.errors import DatasetError
from tests.data.tiny_coco import annotation, content, image, write


def make(folder, image_ids, width=10, categories=None):
    folder.mkdir()
    images = [image(i, width=width) for i in image_ids]
    entries = [annotation(i, i) for i in image_ids]
    ann_file, root = write(folder, content(images, entries, categories))
    return COCODataset(ann_file, root, True, name=folder.name)


def test_positions_run_through(tmp_path):
    whole = ConcatDataset([make(tmp_path / "a", [1, 2]), make(tmp_path / "b", [9], width=12)])
    assert len(whole) == 3
    assert whole.name == "a + b"
    assert whole.categories == {1: "cat", 2: "dog"}
    assert [whole.get_idxs(i) for i in range(3)] == [(0, 0), (0, 1), (1, 0)]
    assert [whole.get_img_info(i)["width"] for i in range(3)] == [10, 10, 12]
    assert [whole[i][2] for i in range(3)] == [1, 2, 9]
    assert torch.equal(whole[2][1].labels, torch.tensor([1]))
    assert whole.image_ids == [1, 2, 9]
    assert whole.contiguous_category_id_to_json_id == {1: 3, 2: 7}
    assert (whole.has_masks, whole.has_keypoints, whole.num_damaged) == (True, False, 0)
    with pytest.raises(DatasetError, match=r"a \+ b.*ground_truth"):
        whole.ground_truth()


@pytest.mark.parametrize("index", [-1, 3])
def test_positions_outside(tmp_path, index):
    whole = ConcatDataset([make(tmp_path / "a", [1, 2, 3])])
    with pytest.raises(IndexError, match=f"{index}.* 3 "):
        whole.get_idxs(index)


def test_categories_must_agree(tmp_path):
    swapped = [{"id": 3, "name": "cat"}, {"id": 5, "name": "bird"}, {"id": 7, "name": "dog"}]
    first, second = make(tmp_path / "a", [1]), make(tmp_path / "b", [2], categories=swapped)
    message = "a .*b .*class 2.*'dog'.*'bird'"
    with pytest.raises(DatasetError, match=message):
        ConcatDataset([first, second])
