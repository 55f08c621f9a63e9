from collections import Counter

import torch

from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.outline_sample import draw_outlines
from tests.data import tiny_coco


def make_dataset(folder, num_cats, num_dogs):
    """Photos with a cat each, of which the first ones also have a dog."""
    images = [tiny_coco.image(i + 1) for i in range(num_cats)]
    annotations = [tiny_coco.annotation(i + 1, i + 1, 3) for i in range(num_cats)]
    annotations += [tiny_coco.annotation(100 + i, i + 1, 7) for i in range(num_dogs)]
    data = tiny_coco.content(images, annotations)
    return COCODataset(*tiny_coco.write(folder, data, with_images=False), True)


def test_no_class_has_more_than_asked_for(tmp_path):
    dataset = make_dataset(tmp_path, num_cats=9, num_dogs=2)
    drawn = list(draw_outlines([dataset], most_of_class=5, seed=0))
    assert Counter(outline.label for outline in drawn) == {1: 5, 2: 2}
    assert all(torch.equal(each.mask, torch.ones(4, 4, dtype=torch.bool)) for each in drawn)


def test_photos_are_not_read_and_order_follows_the_seed(tmp_path, monkeypatch):
    dataset = make_dataset(tmp_path, num_cats=6, num_dogs=6)
    asked = []
    given = dataset.get_target
    monkeypatch.setattr(dataset, "get_target", lambda i: asked.append(i) or given(i))
    for seed in (3, 3, 4):
        assert len(list(draw_outlines([dataset], most_of_class=2, seed=seed))) == 4
    assert asked[:2] == asked[2:4] != asked[4:]
    assert len(asked) == 6
    assert not list(draw_outlines([], most_of_class=2, seed=0))
