import json

import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.visualization.curves import (
    loss_names,
    plot_loss_curves,
    read_metrics,
    smoothed,
)


def write(path, records, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def records(count=40):
    return [
        {"iteration": i, "loss_cls": 1 / i, "loss_mask": 0.7, "loss": 0.7 + 1 / i, "lr": 0.01}
        for i in range(1, count + 1)
    ]


def test_records_come_in_order_and_the_latest_of_an_iteration_counts(tmp_path):
    lines = [{"iteration": 2, "loss": 5}, {"iteration": 1, "loss": 9}, {"iteration": 2, "loss": 4}]
    read = read_metrics(write(tmp_path / "m.jsonl", lines))
    assert [record["loss"] for record in read] == [9, 4]


def test_an_unfinished_last_line_is_skipped(tmp_path):
    path = write(tmp_path / "m.jsonl", records(2), tail='{"iteration": 3, "lo')
    assert len(read_metrics(path)) == 2


def test_a_broken_line_elsewhere_is_named(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('nonsense\n{"iteration": 1}\n')
    with pytest.raises(ValueError, match=r"m.jsonl:1: not a record of metrics: nonsense"):
        read_metrics(path)


def test_the_total_comes_first():
    assert loss_names(records(1)) == ["loss", "loss_cls", "loss_mask"]


def test_smoothing_keeps_a_constant_and_starts_unbiased():
    np.testing.assert_allclose(smoothed(np.full(200, 3.0)), 3.0)
    assert smoothed(np.array([4.0, *[1.0] * 99]))[0] == 4.0


def test_smoothing_lies_between_the_extremes_and_reduces_the_spread():
    values = np.random.default_rng(0).normal(size=300)
    result = smoothed(values)
    assert values.min() <= result.min()
    assert result.max() <= values.max()
    assert result[100:].std() < 0.5 * values.std()


def test_smoothing_passes_over_values_that_are_not_finite():
    result = smoothed(np.array([np.nan, 2.0, np.inf, 2.0]))
    np.testing.assert_allclose(result, [np.nan, 2.0, 2.0, 2.0])


@pytest.mark.parametrize("count", [1, 2, 40])
def test_curves_are_a_picture(tmp_path, count):
    source = write(tmp_path / "m.jsonl", records(count))
    path = plot_loss_curves(source, tmp_path / "out" / "curves.png", "Losses")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 600
        assert np.asarray(image.convert("L")).std() > 5


def test_a_huge_first_value_and_losses_of_zero(tmp_path):
    lines = [{"iteration": i, "loss": 1e6 if i == 1 else 0.5, "loss_maskiou": 0} for i in (1, 2, 3)]
    assert plot_loss_curves(write(tmp_path / "m.jsonl", lines), tmp_path / "c.png").exists()


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no losses"):
        plot_loss_curves(write(tmp_path / "m.jsonl", []), tmp_path / "c.png")
