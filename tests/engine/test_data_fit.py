import logging

import torch

from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.engine.data_fit import fit_to_data
from tests.data import tiny_coco


class Sizes(torch.nn.Module):
    """Remembers how large objects are."""

    def __init__(self):
        super().__init__()
        self.register_buffer("sizes", torch.zeros(2))

    @property
    def unmade_labels(self):
        return tuple((self.sizes == 0).nonzero().squeeze(1).add(1).tolist())

    def make_from(self, outlines, *, seed):
        for label, mask in outlines:
            self.sizes[label - 1] = mask.sum()
        return f"sizes with the seed {seed}"


def test_empty_parts_are_made_of_the_training_data_once_and_the_log_says_so(tmp_path, caplog):
    data = tiny_coco.content(
        annotations=[tiny_coco.annotation(1, 1, 3), tiny_coco.annotation(2, 1, 7)]
    )
    dataset = COCODataset(*tiny_coco.write(tmp_path, data, with_images=False), True)
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), Sizes())
    with caplog.at_level(logging.INFO):
        fit_to_data(model, [dataset], seed=5)
    assert model[1].sizes.tolist() == [16, 16]
    assert "sizes with the seed 5" in caplog.text
    caplog.clear()
    fit_to_data(model, [], seed=5)
    assert not caplog.text
