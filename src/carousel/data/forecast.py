"""Forecast: one series, its next values, and the errors of forecasts against naive ones.

The series is cut in three parts, oldest first: training, validation, test. The test part is held
back: neither the scaling nor a training window nor the validation batch reads one of its values.

Residual form: at step i the network reads the scaled value x(i) and gives the scaled changes
x(i+1) - x(i), ..., x(i+h) - x(i) of the next h = horizon steps, so that a network that answers
zero is the naive forecast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]


class Forecast(Task):
    """Windows of one series; the loss is the mean squared error over the horizon (scaled units).

    A training window has 2 * history steps: the first half warms the state up, every step of the
    second half counts. A forecast that counts so follows at least `history` values. Validation
    and test run through the series from its beginning, with the state carried, and count the
    steps whose whole horizon lies in their part.

    Args:
        values:      (n,) the series, oldest first.
        horizon:     h, how many steps are forecast at each step.
        history:     how many values come before a forecast that counts in training, at least.
        season:      steps after which the seasonal naive forecast repeats; None for no such forecast.
        validation:  share of the series before the test part that training is watched on.
        test:        share of the series held back at its end.

    Attributes:
        train_end, test_start:  the parts are [0, train_end), [train_end, test_start), [test_start, n).
        mean, deviation:        mean and standard deviation of the training part, in the series' unit.
        scale:                  mean absolute error of the one-step naive forecast in the training
                                part: the unit of MASE (Hyndman & Koehler, Int. J. Forecasting 22, 2006).

    Raises:
        InputError: a series too short for these figures, one that does not vary in training, or
            figures out of range.
    """

    input_size = 1

    def __init__(
        self,
        values: Values,
        *,
        horizon: int = 12,
        history: int = 24,
        season: int | None = None,
        validation: float = 0.15,
        test: float = 0.15,
    ) -> None:
        for name, count in (("horizon", horizon), ("history", history), ("season", season)):
            if count is not None and count < 1:
                raise InputError(f"forecast: expected {name} of at least 1, got {count}")
        for name, share in (("validation", validation), ("test", test)):
            if not 0 < share < 1:
                raise InputError(f"forecast: expected {name} between 0 and 1 (a share of the series), got {share}")
        self.values = np.asarray(values, dtype=np.float64)
        self.horizon, self.history, self.season = horizon, history, season
        self.output_size = horizon
        n = len(self.values)
        self.test_start = n - round(test * n)
        self.train_end = self.test_start - round(validation * n)
        self._check_lengths()

        train = self.values[: self.train_end]
        self.mean, self.deviation = float(train.mean()), float(train.std())
        self.scale = float(np.abs(np.diff(train)).mean())
        if not self.deviation > 0:
            raise InputError(f"forecast: the training part (the first {self.train_end} values) does not vary")
        self._scaled = torch.tensor((self.values - self.mean) / self.deviation, dtype=torch.float32)

    def _check_lengths(self) -> None:
        n, h = len(self.values), self.horizon
        for part, length, needed, why in (
            ("training", self.train_end, 2 * self.history + h, f"2 * history + horizon = 2 * {self.history} + {h}"),
            ("validation", self.test_start - self.train_end, h, f"the horizon, {h}"),
            ("test", n - self.test_start, h, f"the horizon, {h}"),
        ):
            if length < needed:
                raise InputError(
                    f"forecast: the series is too short: of its {n} values the {part} part has {max(length, 0)}, "
                    f"at least {needed} are needed ({why})"
                )
        if self.season is not None and self.season > self.test_start:
            raise InputError(f"forecast: season {self.season} is longer than the {self.test_start} values before the test part")

    def loss(self, y: Tensor, target: Tensor) -> Tensor:
        return (y - target).square().mean()

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B windows of the training part that begin anywhere in it; all have 2 * history steps."""
        if lengths:
            raise InputError(f"forecast: the windows have one length, set by history; got {', '.join(lengths)}")
        steps = 2 * self.history
        starts = torch.randint(self.train_end - steps - self.horizon + 1, (B,), generator=generator)
        return self._batch(starts, steps, counts_from=self.history)

    def validation(self) -> Batch:
        """One sequence, from the series' beginning to the last origin of the validation part."""
        return self._batch(torch.tensor([0]), self.test_start - self.horizon, counts_from=self.train_end - 1)

    def _batch(self, starts: Tensor, steps: int, counts_from: int) -> Batch:
        origins = starts + torch.arange(steps)[:, None]  # (T, B)
        now = self._scaled[origins][..., None]
        coming = self._scaled[origins[..., None] + torch.arange(1, self.horizon + 1)]
        mask = (torch.arange(steps) >= counts_from)[:, None].expand(origins.shape)
        return Batch(now, coming - now, mask, torch.full((len(starts),), steps))

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """MAE and RMSE in the series' unit, and MASE, over all steps that count and the whole horizon."""
        # x(i) stands in forecast and truth alike, so the errors are those of the changes.
        forecast, truth = (self._in_unit(changes[batch.mask]) for changes in (outputs, batch.targets))
        return metrics(forecast, truth, self.scale)

    @property
    def origins(self) -> NDArray[np.int64]:
        """The steps from which the test part is forecast; origin i is followed by the values i+1, ..., i+h."""
        return np.arange(self.test_start - 1, len(self.values) - self.horizon)

    @property
    def truth(self) -> Values:
        """(origins, horizon) what came after each origin, in the series' unit."""
        return self.values[self._ahead()]

    @property
    def naive(self) -> Values:
        """(origins, horizon) the value at the origin, repeated."""
        return np.repeat(self.values[self.origins, None], self.horizon, axis=1)

    @property
    def seasonal_naive(self) -> Values | None:
        """(origins, horizon) the latest known value a whole number of seasons before; None without a season."""
        if self.season is None:
            return None
        ahead = np.arange(1, self.horizon + 1)
        return self.values[self._ahead() - self.season * -(-ahead // self.season)]

    def _ahead(self) -> NDArray[np.int64]:
        return self.origins[:, None] + np.arange(1, self.horizon + 1)

    def test_batch(self) -> Batch:
        """One sequence, from the series' beginning to the last origin; the origins count."""
        return self._batch(torch.tensor([0]), len(self.values) - self.horizon, counts_from=self.test_start - 1)

    def forecasts(self, outputs: Tensor) -> Values:
        """(origins, horizon) in the series' unit, of a network's outputs on `test_batch()`, (T, 1, horizon)."""
        return self.values[self.origins, None] + self._in_unit(outputs[self.test_start - 1 :, 0])

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence in the series' unit, with a forecast from every horizon-th step that counts."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.subplots()
        values = self.mean + self._in_unit(batch.inputs[:, 0, 0])
        axes.plot(values, color="black", linewidth=0.8, label="series")
        if outputs is not None:
            for i in batch.mask[:, 0].nonzero()[:: self.horizon, 0].tolist():
                path = values[i] + self._in_unit(outputs[i, 0])
                axes.plot(range(i, i + self.horizon + 1), [values[i], *path], color="tab:red", linewidth=0.8)
        axes.set_xlabel("step")
        return figure

    def _in_unit(self, changes: Tensor) -> Values:
        return changes.detach().double().cpu().numpy() * self.deviation


def metrics(forecast: Values, truth: Values, scale: float) -> dict[str, float]:
    """MAE, RMSE and MASE (MAE in units of `scale`) over all entries of two arrays of one shape."""
    error = forecast - truth
    mae = float(np.abs(error).mean())
    return {"MAE": mae, "RMSE": float(np.sqrt(np.square(error).mean())), "MASE": mae / scale}
