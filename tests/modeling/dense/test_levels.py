import torch

from maskrcnn_benchmark.modeling.dense.levels import flatten_level, flatten_levels


def test_rows_then_columns_then_the_predictions_of_a_cell():
    first = torch.arange(2 * 6 * 2 * 3).reshape(2, 6, 2, 3)
    second = torch.full((2, 6, 1, 1), 99)
    flat = flatten_levels([first, second], 3)
    assert flat.shape == (2, 2 * 6 + 2, 3)
    for y in range(2):
        for x in range(3):
            for i in range(2):
                expected = first[1, 3 * i : 3 * i + 3, y, x]
                assert torch.equal(flat[1, (y * 3 + x) * 2 + i], expected)
    assert (flat[:, 12:] == 99).all()
    assert torch.equal(flatten_level(first, 3), flat[:, :12])
