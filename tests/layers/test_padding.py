import pytest
import torch

from maskrcnn_benchmark.layers.padding import pad_at_the_end


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8])
def test_windows_of_even_sides_start_at_their_first_cell_and_half_the_cells_are_left(side):
    row = torch.arange(1.0, side + 1).expand(1, 1, side, side)
    pooled = torch.nn.functional.max_pool2d(pad_at_the_end(row), 3, stride=2)[0, 0, 0]
    first = side % 2
    windows = [range(start - first, start - first + 3) for start in range(0, side, 2)]
    assert pooled.tolist() == [max(i + 1 for i in window if 0 <= i < side) for window in windows]
