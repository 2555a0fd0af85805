"""Forecast with intervals: the 10 %, 50 % and 90 % quantiles of the monthly sunspots, twelve months ahead."""

from pathlib import Path
from tempfile import TemporaryDirectory

from carousel.data import example
from carousel.jobs import forecast

settings = forecast.Settings(
    example("sunspots"),
    target="Sunspots",
    model="gru",
    hidden=8,
    horizon=12,
    quantiles=(0.1, 0.5, 0.9),
    rate=0.01,
    sequences=1280,
    baseline="none",
)

with TemporaryDirectory() as folder:
    run = Path(folder) / "sunspots"
    result = forecast.train(settings, run, progress=False)
    for row in result.rows:  # the errors on the years that were held back
        print(f"{row['method']:8} MAE {row['MAE']:5.2f}, {row['80% coverage']:.0%} of the values in the interval of 80 %")
    for month in forecast.predict(run, example("sunspots")):
        low, middle, high = (month[name] for name in ("Sunspots q0.1", "Sunspots", "Sunspots q0.9"))
        print(f"{month[result.time_name]}: {middle:.1f}, between {low:.1f} and {high:.1f}")
