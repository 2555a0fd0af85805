"""Series read from CSV files: what is accepted, and that everything else is one clear line."""

import math
import string
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carousel.data import example, read_series
from carousel.errors import InputError


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "series.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_the_sunspots_that_ship():
    series = read_series(example("sunspots"), "Sunspots")
    assert (series.name, series.time_name) == ("Sunspots", "Month")
    assert series.values.shape == (2820,)
    assert series.values.dtype == np.float64
    assert (series.times[0], series.values[0]) == ("1749-01", 58.0)
    assert (series.times[-1], series.values[-1]) == ("1983-12", 33.4)


def test_an_unknown_example_names_those_there_are():
    with pytest.raises(InputError, match="expected one of: sunspots"):
        example("moonspots")


def test_quotes_spaces_byte_order_mark_and_blank_end(csv):
    series = read_series(csv('\ufeff"Month","a,b"\r\n"2001-01", 1.5\r\n2001-02,-2e3\r\n\r\n'), "a,b")
    assert series.values.tolist() == [1.5, -2000.0]
    assert series.times == ["2001-01", "2001-02"]


def test_without_dates_the_rows_are_numbered(csv):
    series = read_series(csv("a,b\n5,1\n3,2\n"), "b")
    assert (series.times, series.time_name) == (["2", "3"], "row")


def test_a_named_column_of_numbers_is_a_time(csv):
    assert read_series(csv("t,x\n1.5,1\n2,2\n10,3\n"), "x", time="t").times == ["1.5", "2", "10"]


@pytest.mark.parametrize(
    ("text", "target", "time", "message"),
    [
        ("t,temp,wind\n1,2,3\n", "temps", None, "no column 'temps'; the columns are: 'temp', 't', 'wind'"),
        ("t,x\n1,2\n", "x", "day", "no column 'day'; the columns are: "),
        ("x\n1\n2,5\n", "x", None, "not a CSV table"),
        ("x\n1\ntwo\n3\n", "x", None, "row 3, column 'x': expected a number, got 'two'"),
        ("x\n1\n2\ninf\n", "x", None, "row 4, column 'x': expected a number, got 'inf'"),
        ("a,x\n1,1\n2,\n3,3\n", "x", None, "row 3, column 'x': no value ('')"),
        ("x\n1\nNA\n3\n", "x", None, "row 3, column 'x': no value ('NA')"),
        ("x\n1\n\n3\n", "x", None, "row 3, column 'x': no value ('')"),
        ("", "x", None, "the file is empty"),
        ("\n,\n", "x", None, "not a CSV table"),
        (",\n,\n", "x", None, "the file is empty"),
        ("x,y\n", "x", None, "no rows of values under the names 'x', 'y'"),
        ("x,x\n1,2\n", "x", None, "row 1 names two columns 'x'"),
        (b"x\n1\n\xff\n", "x", None, "row 3 is not UTF-8"),
        ("d,x\n2001-01,1\n2001-01,2\n", "x", None, "row 3, column 'd': the time '2001-01' stands in the row above already"),
        ("d,x\n2001-02,1\n2001-01,2\n", "x", None, "row 3, column 'd': '2001-01' is before the row above; sort"),
        ("d,x\n2001-02,1\n2001-13,2\n", "x", None, "row 3, column 'd': expected an ISO date, as in the first row, got '2001-13'"),
        ("d,x\nMay,1\n", "x", "d", "row 2, column 'd': expected an ISO date or a number, got 'May'"),
        ("d,x\n1,1\n,2\n", "x", "d", "row 3, column 'd': expected an ISO date or a number, got ''"),
    ],
)
def test_bad_input_is_one_line_with_the_place(csv, text, target, time, message):
    path = csv(text)
    with pytest.raises(InputError) as error:
        read_series(path, target, time)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.csv: cannot read the file: No such file"):
        read_series(tmp_path / "nothing.csv", "x")
    with pytest.raises(InputError, match="cannot read the file: Is a directory"):
        read_series(tmp_path, "x")


_CELL = st.one_of(
    st.text(max_size=6), st.floats().map(str), st.dates().map(str), st.sampled_from(["", "NA", '"', ",", "\n", "\r\n"])
)
_TABLE = st.lists(st.lists(_CELL, min_size=1, max_size=4).map(",".join), max_size=6).map(lambda rows: "x,t\n" + "\n".join(rows))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=80), _TABLE.map(str.encode), st.text(string.printable, max_size=80).map(str.encode)))
def test_whatever_the_file_holds_it_is_a_series_or_an_input_error(tmp_path: Path, content: bytes):
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    for target, time in (("x", None), ("x", "t"), ("", None)):
        try:
            series = read_series(path, target, time)
        except InputError as error:
            lines = str(error).splitlines()
            if len(lines) != 1:
                pytest.fail(f"expected one line, got {lines}")
        else:
            assert np.isfinite(series.values).all()
            assert len(series.values) == len(series.times) > 0


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_what_is_written_is_read_back(tmp_path: Path, values: list[float]):
    path = tmp_path / "good.csv"
    days = [str(date(1999, 12, 25) + timedelta(days=n)) for n in range(len(values))]
    path.write_text("day,x\n" + "".join(f"{day},{value!r}\n" for day, value in zip(days, values, strict=True)))
    series = read_series(path, "x")
    assert series.times == days
    assert all(math.isclose(read, value, rel_tol=1e-15) for read, value in zip(series.values, values, strict=True))
