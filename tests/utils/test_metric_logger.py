import pickle
from statistics import StatisticsError

import pytest
import torch

from maskrcnn_benchmark.utils.metric_logger import MetricLogger, SmoothedValue


def test_statistics_by_hand():
    series = SmoothedValue(window_size=3)
    for value in (100.0, 1.0, 2.0, 6.0):
        series.update(value)
    assert (series.median, series.avg, series.global_avg) == (2.0, 3.0, 27.25)
    assert (series.total, series.count) == (109.0, 4)


def test_an_even_window_has_the_lower_of_the_middle_as_median():
    series = SmoothedValue()
    series.update(4.0)
    series.update(1.0)
    assert series.median == 1.0


@pytest.mark.parametrize("statistic", ["median", "avg", "global_avg"])
def test_an_empty_series_has_no_statistics(statistic):
    with pytest.raises(StatisticsError):
        getattr(SmoothedValue(), statistic)


def test_meters_take_numbers_and_tensors():
    meters = MetricLogger(delimiter="  ")
    meters.update(loss=torch.tensor(1.0), time=1)
    meters.update(loss=2.0)
    assert meters.loss.global_avg == 1.5
    assert str(meters) == "loss: 1.0000 (1.5000)  time: 1.0000 (1.0000)"


def test_an_unknown_series_is_an_attribute_error_that_lists_the_known():
    meters = MetricLogger()
    meters.update(loss=1.0)
    with pytest.raises(AttributeError, match=r"'lost'.*\['loss'\]"):
        _ = meters.lost


def test_meters_survive_pickling():
    meters = MetricLogger()
    meters.update(loss=1.0)
    assert pickle.loads(pickle.dumps(meters)).loss.median == 1.0
