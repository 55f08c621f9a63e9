"""Running statistics of losses and times, as training lines show them."""

from collections import deque
from statistics import StatisticsError, fmean, median_low

from torch import Tensor


class SmoothedValue:
    """A series of numbers, summed up by the median and mean of its newest and its overall mean.

    Args:
        window_size: how many of the newest numbers ``median`` and ``avg`` look at, >= 1.
    """

    def __init__(self, window_size: int = 20) -> None:
        self._window: deque[float] = deque(maxlen=window_size)
        self.total = 0.0
        self.count = 0

    def update(self, value: float) -> None:
        """Add ``value`` to the series."""
        self._window.append(value)
        self.total += value
        self.count += 1

    @property
    def median(self) -> float:
        """Median of the window, the lower of the middle two when it holds an even number.

        Raises:
            StatisticsError: nothing was added yet; so do the other statistics.
        """
        return median_low(self._window)

    @property
    def avg(self) -> float:
        """Mean of the window."""
        return fmean(self._window)

    @property
    def global_avg(self) -> float:
        """Mean of everything that was added."""
        if self.count == 0:
            raise StatisticsError("SmoothedValue: no value was added yet")
        return self.total / self.count


class MetricLogger:
    """One ``SmoothedValue`` a name, readable as attributes: ``meters.loss.median``.

    Args:
        delimiter: what ``str(meters)`` puts between two entries.
        window_size: of each ``SmoothedValue``.
    """

    def __init__(self, delimiter: str = "\t", window_size: int = 20) -> None:
        self.delimiter = delimiter
        self.meters: dict[str, SmoothedValue] = {}
        self._window_size = window_size

    def update(self, **values: float | Tensor) -> None:
        """Add one number (or one-element tensor) to the series of each name."""
        for name, value in values.items():
            number = value.item() if isinstance(value, Tensor) else float(value)
            self.meters.setdefault(name, SmoothedValue(self._window_size)).update(number)

    def __getattr__(self, name: str) -> SmoothedValue:
        # Reached only when normal lookup fails; ``meters`` itself is absent while unpickling.
        meters: dict[str, SmoothedValue] = self.__dict__.get("meters", {})
        if name in meters:
            return meters[name]
        raise AttributeError(f"MetricLogger has no attribute or series {name!r}: {sorted(meters)}")

    def __str__(self) -> str:
        return self.delimiter.join(
            f"{name}: {meter.median:.4f} ({meter.global_avg:.4f})"
            for name, meter in self.meters.items()
        )
