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
    with pytest.raises(ValueError, match=r"m\.jsonl:1: .*nonsense"):
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


def drawn(folder, lines):
    """Pixels (h, w): 1 where a loss is drawn, 2 where its smoothed one is, 3 where the rate is."""
    path = plot_loss_curves(write(folder / "m.jsonl", lines), folder / "out" / "curves.png", "Run")
    with Image.open(path) as image:
        assert image.format == "PNG"
        red, _, blue = np.moveaxis(np.asarray(image.convert("RGB"), int), 2, 0)
    return np.select([red - blue > 120, blue - red > 120, blue - red > 40], [3, 2, 1], 0)


def spread(pixels):
    """Height in px of what is drawn."""
    return np.ptp(np.nonzero(pixels)[0])


def test_every_loss_and_the_rate_have_a_panel(tmp_path):
    pixels = drawn(tmp_path, records())
    quarters = [part for half in np.array_split(pixels, 2) for part in np.array_split(half, 2, 1)]
    loss, loss_cls, loss_mask, rate = quarters
    assert {2} <= set(np.unique(loss)) <= {0, 1, 2}
    assert set(np.unique(rate)) == {0, 3}
    # The losses fall but for loss_mask, which is the same all the time, as the rate is.
    assert spread(loss) > 100
    assert spread(loss_cls) > 100
    assert spread(loss_mask) < 10
    assert spread(rate) < 10


def test_a_run_that_has_just_begun(tmp_path):
    later = drawn(tmp_path, records())
    assert drawn(tmp_path, records(1)).shape == later.shape
    assert (drawn(tmp_path, records(2)) == 2).any()


def test_a_huge_first_value_does_not_flatten_the_rest(tmp_path):
    lines = [{"iteration": i, "loss": 1e6 if i == 1 else i % 2} for i in range(1, 200)]
    pixels = drawn(tmp_path, lines)
    assert spread(pixels[:, -pixels.shape[1] // 3 :]) > 100


def test_losses_of_zero_have_their_panels(tmp_path):
    shapes = [
        drawn(tmp_path, [{"iteration": i, "loss": x, "loss_maskiou": x} for i in (1, 2, 3)]).shape
        for x in (0, 0.5)
    ]
    assert shapes[0] == shapes[1]


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"m\.jsonl"):
        plot_loss_curves(write(tmp_path / "m.jsonl", []), tmp_path / "c.png")
