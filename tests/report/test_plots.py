"""The figures: what is drawn is what was given, with its unit on the axis."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from carousel.report import plots

MONTHS = [f"{1900 + n // 12}-{n % 12 + 1:02}" for n in range(240)]


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_palette_gives_each_name_its_own_colour() -> None:
    colours = plots.palette(["lstm", "gru"], ["naive", "seasonal"])
    assert len(set(colours.values())) == 4
    assert plots.TRUTH not in colours.values()


def test_learning_curves_draw_every_run() -> None:
    curves = {"lstm": [[(0, 3.0), (10, 2.0)], [(0, 4.0), (10, 2.5)]], "gru": [[(0, 3.5), (10, 1.5)]]}
    figure = plots.learning_curves({("MAE", "spots"): curves}, plots.palette(curves, ()), marked=(10, 1.5))
    (axes,) = figure.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[3.0, 2.0], [4.0, 2.5], [3.5, 1.5], [1.5]]
    assert axes.get_ylabel() == "MAE\n(spots)"
    assert axes.get_xlabel() == "sequences seen"
    assert labels(figure) == ["lstm", "gru", "weights kept"]


def test_a_learning_curve_of_one_point_is_seen() -> None:
    curves = {"long": [[(1, 3.0), (2, 2.0)]], "short": [[(1, 3.5)]]}
    (axes,) = plots.learning_curves({("loss", ""): curves}, plots.palette(curves, ())).axes
    assert [line.get_marker() for line in axes.lines] == ["None", "o"]


@pytest.mark.parametrize(
    ("values", "scale"), [((1.0, 0.5), "linear"), ((10.0, 0.1), "log"), ((10.0, 0.0), "linear"), ((10.0, -1.0), "linear")]
)
def test_learning_curves_go_logarithmic_where_it_helps(values: tuple[float, float], scale: str) -> None:
    curve = list(enumerate(values))
    figure = plots.learning_curves({("loss", ""): {"a": [curve]}}, {"a": "black"})
    assert figure.axes[0].get_yscale() == scale


def test_forecasts_begin_at_the_truth_and_do_not_overlap() -> None:
    truth = np.sin(np.arange(240.0))
    ahead = np.lib.stride_tricks.sliding_window_view(truth, 12)
    made = {"lstm": ahead + 1, "naive": ahead + 2}
    figure = plots.forecasts(MONTHS, truth, made, {"lstm": "blue", "naive": "grey"}, "spots", "Month")
    whole, close_up = figure.axes
    drawn = [line for line in whole.lines if line.get_color() == "blue"]
    assert len(drawn) == 20  # 240 values, 12 a forecast
    forecast = drawn[3]
    assert list(forecast.get_ydata()) == [truth[35], *(truth[36:48] + 1)]
    assert [str(month)[:7] for month in forecast.get_xdata()] == MONTHS[35:48]
    assert {line.get_color() for line in close_up.lines} == {plots.TRUTH, "blue", "grey"}
    assert whole.get_ylabel() == close_up.get_ylabel() == "spots"
    assert close_up.get_xlabel() == "Month"
    assert labels(figure) == ["truth", "lstm", "naive"]


def test_a_short_truth_has_one_panel_with_all_methods() -> None:
    truth = np.arange(20.0)
    ahead = np.lib.stride_tricks.sliding_window_view(truth, 5)
    figure = plots.forecasts(MONTHS[:20], truth, {"a": ahead, "b": ahead}, {"a": "blue", "b": "grey"}, "unit", "row")
    (axes,) = figure.axes
    assert {line.get_color() for line in axes.lines} == {plots.TRUTH, "blue", "grey"}
    assert labels(figure) == ["truth", "a", "b"]


def test_error_by_step_counts_from_one_step_ahead() -> None:
    figure = plots.error_by_step({"lstm": [1.0, 2.0, 4.0]}, {"lstm": "blue"}, "spots")
    (line,) = figure.axes[0].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2, 3], [1.0, 2.0, 4.0])
    assert "spots" in figure.axes[0].get_ylabel()


def test_error_over_time_numbers_the_worst() -> None:
    errors = np.array([1.0, 5.0, 2.0, 4.0])
    figure = plots.error_over_time(["3", "4", "5", "6", "7"], errors, [1, 3], "spots", "row")
    notes = figure.axes[0].texts
    assert [(note.get_text(), note.xy) for note in notes] == [("1", (4.0, 5.0)), ("2", (6.0, 4.0))]


def test_spread_shows_each_seed_and_their_mean() -> None:
    figure = plots.spread({"naive": [20.0], "lstm": [9.0, 11.0, 13.0]}, {"naive": "grey", "lstm": "blue"}, "MAE")
    (axes,) = figure.axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[20.0], [20.0, 20.0], [9.0, 11.0, 13.0], [11.0, 11.0]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["naive", "lstm"]


@pytest.mark.parametrize(
    ("times", "kind"),
    [(["1749-01", "1749-02"], "M"), (["2020-01-31 12:00", "2020-02-01"], "M"), (["1.5", "2"], "f"), (["a", "b"], "i")],
)
def test_times_are_read_as_dates_then_numbers_then_counted(times: list[str], kind: str) -> None:
    assert plots._time_values(times).dtype.kind == kind


def test_a_long_unit_is_cut_and_large_numbers_stand_in_full() -> None:
    figure = plots.error_by_step({"lstm": [4_000_000.0, 5_000_000.0]}, {"lstm": "blue"}, "a" * 60)
    (axes,) = figure.axes
    assert axes.get_ylabel() == f"mean absolute error\n({'a' * 26}…"
    assert axes.yaxis.get_major_formatter().format_data(4e6) == "4,000,000"


def test_confusion_shows_the_counts_and_colours_by_share_of_the_row() -> None:
    counts = np.array([[30, 10], [0, 5]])
    figure = plots.confusion(counts, ["up", "a very long label"])
    axes, bar = figure.axes
    np.testing.assert_allclose(axes.collections[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert {(text.get_text(), *text.get_position()) for text in axes.texts} == {("30", 0.5, 0.5), ("10", 1.5, 0.5), ("5", 1.5, 1.5)}
    assert axes.get_xticks().tolist() == axes.get_yticks().tolist() == [0.5, 1.5]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["up", "a very long…"]
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("predicted", "truth", "share of row")


def test_confusion_of_many_labels_has_colours_alone() -> None:
    figure = plots.confusion(np.eye(40, dtype=int), [str(n) for n in range(40)])
    assert not figure.axes[0].texts


def test_intervals_are_shaded_under_the_forecasts_of_the_first_method() -> None:
    truth = np.sin(np.arange(48.0))
    ahead = np.lib.stride_tricks.sliding_window_view(truth, 12)
    bands = {"80%": (ahead - 1, ahead + 2), "50%": (ahead - 0.5, ahead + 1)}
    made = {"lstm": ahead, "naive": ahead + 2}
    figure = plots.forecasts(MONTHS[:48], truth, made, {"lstm": "blue", "naive": "grey"}, "spots", "Month", bands=bands)
    (axes,) = figure.axes
    assert len(axes.collections) == 2 * 4
    heights = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (truth[12:24].min() - 1, truth[12:24].max() + 2)
    assert labels(figure) == ["truth", "lstm", "naive", "lstm, 80% and 50%"]


def test_coverage_stands_beside_the_nominal_share() -> None:
    figure = plots.coverage_by_step({"lstm": [81.0, 70.0]}, "80%", {"lstm": "blue"})
    (axes,) = figure.axes
    drawn, nominal = axes.lines
    assert list(drawn.get_ydata()) == [81.0, 70.0]
    assert set(nominal.get_ydata()) == {80.0}
    assert labels(figure) == ["lstm", "nominal 80%"]
    assert axes.get_ylabel() == "values within\n(%)"


def test_gates_have_a_panel_each_and_a_column_a_layer() -> None:
    steps = np.arange(20.0)
    moving = np.stack([0.5 + 0.4 * np.sin(steps), np.full(20, 0.5), 0.5 + 0.1 * np.sin(steps), 0.5 + 0.2 * np.sin(steps)], axis=1)
    figure = plots.gates({"0.i": moving, "0.c": 10 * moving, "1.z": moving}, MONTHS[:20], "Month", steps, "spots")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_ylabel() for axes in shown] == ["spots", "spots", "input gate", "update gate", "cell state"]
    assert list(shown[0].lines[0].get_ydata()) == list(steps)
    first, second, third = shown[2].lines
    for line, unit in ((first, 0), (second, 3), (third, 2)):
        assert list(line.get_ydata()) == list(moving[:, unit])
    assert shown[2].get_ylim() == (-0.05, 1.05)
    assert shown[4].get_ylim()[1] > 5
    assert [axes.get_title() for axes in shown[:2]] == ["layer 0", "layer 1"]


def test_gates_of_a_text_name_each_symbol() -> None:
    figure = plots.gates({"r": np.random.default_rng(0).random((3, 2))}, ["a", "b", " "], "character")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b", " "]
    assert axes.get_xlabel() == "character"
    assert len(axes.lines) == 2


def test_many_steps_are_drawn_thin_and_unshaded() -> None:
    times = [str(n) for n in range(3000)]
    figure = plots.error_over_time(times, np.ones(3000), [5], "spots", "row")
    assert not figure.axes[0].collections
