import pytest
import torch

from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)


def make_labels(num_positives, num_negatives, num_ignored):
    labels = torch.cat(
        [
            torch.full((num_positives,), 3),
            torch.zeros(num_negatives, dtype=torch.int64),
            torch.full((num_ignored,), -1),
        ]
    )
    generator = torch.Generator().manual_seed(0)
    return labels[torch.randperm(len(labels), generator=generator)]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((100, 100, 50), (5, 15)),  # a quarter of 20 are positives
        ((2, 100, 50), (2, 18)),  # negatives fill up
        ((100, 4, 50), (5, 4)),  # positives do not
        ((0, 30, 0), (0, 20)),
        ((0, 0, 9), (0, 0)),
        ((0, 0, 0), (0, 0)),
    ],
)
def test_counts(counts, expected):
    labels = make_labels(*counts)
    positives, negatives = BalancedPositiveNegativeSampler(20, 0.25)([labels])
    assert (int(positives[0].sum()), int(negatives[0].sum())) == expected
    assert positives[0].dtype == negatives[0].dtype == torch.bool
    assert (labels[positives[0]] == 3).all()
    assert (labels[negatives[0]] == 0).all()


def test_float_labels_and_several_images():
    labels = [torch.tensor([1.0, 0.0, -1.0, -2.0]), torch.tensor([0.0])]
    positives, negatives = BalancedPositiveNegativeSampler(8, 0.5)(labels)
    assert [mask.tolist() for mask in positives] == [[True, False, False, False], [False]]
    assert [mask.tolist() for mask in negatives] == [[False, True, False, False], [True]]


def test_no_images():
    assert BalancedPositiveNegativeSampler(8, 0.5)([]) == ([], [])


def test_every_candidate_is_drawn_sooner_or_later_and_the_seed_decides():
    labels = make_labels(6, 6, 3)
    sampler = BalancedPositiveNegativeSampler(4, 0.5)
    torch.manual_seed(0)
    draws = [sampler([labels]) for _ in range(60)]
    drawn = torch.stack([positive[0] | negative[0] for positive, negative in draws]).any(dim=0)
    assert torch.equal(drawn, labels >= 0)
    torch.manual_seed(0)
    repeated = sampler([labels])
    assert torch.equal(repeated[0][0], draws[0][0][0])
    assert torch.equal(repeated[1][0], draws[0][1][0])
