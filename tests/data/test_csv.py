"""Series read from CSV files: what is accepted, and that everything else is one clear line."""

import gzip
import math
import string
from datetime import date, timedelta
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carousel.data import example, read_series, read_table, series_of
from carousel.data.csv import gaps, joined
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


def test_gaps_are_nan(csv):
    series = read_series(csv("a,x\n1,\n2,1\n3,NA\n4,nan\n5,2\n6,n/a\n"), "x")
    np.testing.assert_array_equal(series.values, [np.nan, 1, np.nan, np.nan, 2, np.nan])
    assert gaps(series.values) == (4, 2)
    assert gaps(np.array([1.0])) == (0, 0)
    np.testing.assert_array_equal(series.filled().values, [np.nan, 1, 1, 1, 2, 2])


def test_a_date_in_several_columns(csv):
    path = csv("year,month,day,hour,x\n2010,1,1,23,1\n2010,1,2,0,2\n")
    series = read_series(path, "x", ("year", "month", "day", "hour"))
    assert series.times == ["2010-01-01 23:00", "2010-01-02 00:00"]
    assert series.time_name == "time"
    assert np.diff(series.moments) == [3600]
    assert read_series(path, "x", ("year", "month", "day", "hour")[:3]).times == ["2010-01-01", "2010-01-02"]
    series = read_series(csv("d,t,x\n2010-01-01,23:30,1\n2010-01-02,00:00,2\n"), "x", ("d", "t"))
    assert series.times == ["2010-01-01 23:30", "2010-01-02 00:00"]
    for day, told in (("2010-01-{:02}", "iso"), ("{:02}/01/2010", "%d/%m/%Y %H:%M"), ("201001{:02}", "%Y%m%d %H:%M")):
        rows = "".join(f"{day.format(13 + n // 24)},{n % 24},{n}\n" for n in range(60))
        series = read_series(csv(f"d,h,x\n{rows}"), "x", ("d", "h"))
        assert (series.format, series.step.described(), series.times[9][-6:]) == (told, "hourly", " 09:00")
    assert read_series(csv("y,m,x\n2010,12,1\n2011,1,2\n"), "x", ("y", "m")).times == ["2010-12", "2011-01"]


def test_series_told_apart_by_a_column_whose_rows_may_alternate(csv):
    table = read_table(csv("day,shop,x,wind\n2001-01-01,b,1,NW\n2001-01-01,a,2,SE\n2001-01-02,b,3,\n"))
    b, a = series_of(table, "x", id="shop", columns=["wind"])
    assert (b.id, b.values.tolist(), b.times, b.columns) == ("b", [1, 3], ["2001-01-01", "2001-01-02"], {"wind": ["NW", ""]})
    assert (a.id, a.values.tolist()) == ("a", [2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day,shop,x\n1,a,1\n1,b,1\n1,a,1\n", "row 4, column 'day': the time '1' stands in row 2 already"),
        (
            "day,shop,x\n2,a,1\n1,b,1\n1,a,1\n",
            "row 4, column 'day': '1' is before row 2; sort the rows by time, or train with --sort",
        ),
        ("day,shop,x\n2,a,1\n1,,1\n", "row 3, column 'shop': empty; expected the name of a series"),
    ],
)
def test_bad_rows_of_many_series_are_named(csv, text, message):
    with pytest.raises(InputError) as error:
        series_of(read_table(csv(text)), "x", "day", id="shop")
    assert str(error.value).endswith(message)


def test_a_covariate_s_kind_is_that_of_its_first_cell(csv):
    table = read_table(csv("x,wind,rain\n1,NA,\n2,NW,0.5\n3,7,2\n"))
    (series,) = series_of(table, "x", columns=["wind", "rain"])
    assert series.columns["wind"] == ["", "NW", "7"]
    np.testing.assert_array_equal(series.columns["rain"], [np.nan, 0.5, 2])
    with pytest.raises(InputError, match="row 3, column 'wind': expected a number, got 'NW'"):
        series_of(table, "x", columns=["wind"], texts=[])
    with pytest.raises(InputError, match="row 4, column 'rain': expected a number, got 'much'"):
        series_of(read_table(csv("x,rain\n1,\n2,0.5\n3,much\n")), "x", columns=["rain"])


def test_a_packed_file_is_read_as_it_stands(tmp_path):
    path = tmp_path / "series.csv.gz"
    path.write_bytes(gzip.compress(b"x\n1\n2\n"))
    assert read_series(path, "x").values.tolist() == [1, 2]
    path.write_bytes(gzip.compress(b"x\n1\n2\n")[:-9])
    with pytest.raises(InputError, match="damaged or cut off"):
        read_series(path, "x")


def test_parts_of_a_series_join_again(csv):
    (series,) = series_of(read_table(csv("d,x,wind,rain\n1,1,N,5\n2,2,S,6\n4,3,N,7\n")), "x", "d", columns=["wind", "rain"])
    again = joined(series.cut(1), series.cut(None, 1))
    assert again.times == series.times
    assert again.columns["wind"] == ["N", "S", "N"]
    for one, other in ((again.values, series.values), (again.moments, series.moments), (again.columns["rain"], [5, 6, 7])):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("text", "target", "time", "message"),
    [
        ("t,temp,wind\n1,2,3\n", "temps", None, "no column 'temps'; the columns are: 'temp', 't', 'wind'"),
        ("t,x\n1,2\n", "x", "day", "no column 'day'; the columns are: "),
        ("x\n1\n2,5\n", "x", None, "row 3 has 2 cells, the row of names 1; put a cell that holds a comma in quotes"),
        ("x\n1\ntwo\n3\n", "x", None, "row 3, column 'x': expected a number, got 'two'"),
        ("x\n1\n2\ninf\n", "x", None, "row 4, column 'x': expected a number, got 'inf'"),
        ("", "x", None, "the file is empty"),
        ("\n,\n", "x", None, "not a CSV table"),
        (",\n,\n", "x", None, "the file is empty"),
        ("x,y\n", "x", None, "no rows of values under the names 'x', 'y'"),
        ("x,x\n1,2\n", "x", None, "row 1 names two columns 'x'"),
        (b"x\n1\n\xff\n", "x", None, "row 3 is not UTF-8"),
        ("d,x\n2001-01,1\n2001-01,2\n", "x", None, "row 3, column 'd': the time '2001-01' stands in the row above already"),
        ("d,x\n2001-02,1\n2001-01,2\n", "x", None, "row 3, column 'd': '2001-01' is before the row above; sort"),
        ("d,x\n2001-02,1\n2001-13,2\n", "x", None, "row 3, column 'd': expected a date like '2001-02', got '2001-13'"),
        ("d,x\nMay,1\n", "x", "d", "row 2, column 'd': expected a date or a number, got 'May'"),
        ("y,m,x\n2001,1,1\n2001,13,2\n", "x", ("y", "m"), "row 3, columns 'y', 'm': expected whole numbers for year, month or"),
        ("y,m,x\n2001,1,1\n2001,1.5,2\n", "x", ("y", "m"), "row 3, columns 'y', 'm': expected whole numbers for year, month or"),
        ("a,b,c,d,e,f,g,x\n1,1,1,1,1,1,1,1\n", "x", tuple("abcdefg"), "expected at most 6 columns of times"),
        (
            "d,t,x\n2001-01-01,9:60,1\n",
            "x",
            ("d", "t"),
            "row 2, columns 'd', 't': expected a date or a number, got '2001-01-01 9:60'",
        ),
        ("d,x\n1,1\n,2\n", "x", "d", "row 3, column 'd': the time is missing; give it, or delete the row"),
    ],
)
def test_bad_input_is_one_line_with_the_place(csv, text, target, time, message):
    path = csv(text)
    with pytest.raises(InputError) as error:
        read_series(path, target, time)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("day;x\n1;2\n2;3\n", [2, 3]),
        ("day;x\n1;2,5\n2;3\n", [2.5, 3]),
        ("day\tx\n1\t2.5\n2\t3\n", [2.5, 3]),
        ("day|x\n1|2.5\n2|3\n", [2.5, 3]),
        ('day,x\n1,"2,5"\n2,3\n', [2.5, 3]),
        ("day;x\n1;1.234,5\n2;-1.234.567,25\n", [1234.5, -1234567.25]),
        ('day,x\n1,"1,234.5"\n2,"1,234,567"\n', [1234.5, 1234567]),
        ('day,x\n1,"1,234"\n2,2.5\n', [1234, 2.5]),
        ("day;x\n1;1,234\n2;2,5\n", [1.234, 2.5]),
        ("day;x\n1;0,123\n2;0,456\n", [0.123, 0.456]),
        ("day;x\n1;1\u202f234,5\n2;-1\u00a0234\u00a0567,25\n", [1234.5, -1234567.25]),
        ("day,x\r1,2.5\r2,3\r", [2.5, 3]),
        ("day,x\n1,1'234.5\n2,2 345\n", [1234.5, 2345]),
        ("day;x\n1;1,5e3\n2;-,5\n", [1500, -0.5]),
        ('"the day, local";x\n1;1,5\n2;2,5\n', [1.5, 2.5]),
        ("sep=;\nday;x\n1;1,5\n2;2,5\n", [1.5, 2.5]),
        ("day;x\n1;1.5\n2;\n", [1.5, math.nan]),
        ("day\tx\n1\t1,5\n2\tNA\n".encode("utf-16"), [1.5, math.nan]),
    ],
)
def test_what_is_between_cells_and_before_decimals_is_seen(csv, text, values):
    np.testing.assert_array_equal(
        read_series(csv(text), "x", "day" if "the day" not in str(text) else "the day, local").values, values
    )


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "day;x\n1;1,234\n2;2,345\n",
            {},
            "row 2, column 'x': '1,234' may have decimals or thousands; say what stands before decimals: ",
        ),
        ("day;x\n1;1,5\n2;2.345\n", {}, "row 3, column 'x': '2.345' may have decimals or thousands; say what"),
        ("day;x\n1;1,5\n2;2.5\n", {}, "row 2, column 'x': '1,5' has a decimal comma, where '2.5' has a decimal point"),
        ("day;x\n1;1,5\n2;2.5\n", {"decimal": ","}, "row 3, column 'x': expected a number, got '2.5'"),
        ("day;x\n1;1,5\n2;2.5\n", {"decimal": "."}, "row 2, column 'x': expected a number, got '1,5'"),
        ("day;x\n1;12,34,5\n", {"decimal": "."}, "row 2, column 'x': expected a number, got '12,34,5'"),
        ("x;y,z\n1;2,5\n", {}, "its cells may be apart by ',' or ';'; say which: --delimiter ',' or --delimiter ';'"),
        ("day;x\n1;2\n", {"delimiter": ";;"}, "delimiter ';;': expected one character, or tab"),
        ("sep=;\nday;x\n1;a\n", {}, "row 3, column 'x': expected a number, got 'a'"),
        ("day,x\n1,-\n", {}, "row 2, column 'x': expected a number, got '-'; --missing - takes it for a gap"),
        ("day,x\n1,#N/A\n", {}, "row 2, column 'x': expected a number, got '#N/A'; --missing '#N/A' takes it for a gap"),
        ("day,x\n1,1 23\n", {}, "row 2, column 'x': expected a number, got '1 23'"),
        ("day,x\n1,12 345 6\n", {}, "row 2, column 'x': expected a number, got '12 345 6'"),
        ("1,2\n3,4\n", {}, "row 1 looks like values ('1', '2'), not like names of columns; say which: --no-header"),
        ("2020-01-01,x\n2020-01-02,4\n", {}, "row 1 looks like values ('2020-01-01', 'x')"),
        ('"Feb 3, 2020",1.5\n"Feb 4, 2020",1\n', {}, "row 1 looks like values ('Feb 3, 2020', '1.5')"),
        ("03/02/2020 14:00,shop\n03/02/2020 15:00,b\n", {}, "row 1 looks like values ('03/02/2020 14:00', 'shop')"),
        ("-1.5e3,,\n3,4,5\n", {}, "row 1 looks like values ('-1.5e3', '', '')"),
    ],
)
def test_what_may_be_read_in_two_ways_is_asked(csv, text, options, message):
    with pytest.raises(InputError) as error:
        series_of(read_table(csv(text), **{"numbers": ("x",), **options}), "x")
    assert message in str(error.value)


def test_a_headerless_file_with_decimal_commas_in_quotes(csv):
    rows = "".join(f'30.07.2017 14:{minute}:00,"25{minute},50","2143,50"\n' for minute in (15, 30, 45))
    (series,) = series_of(read_table(csv(rows), header=False, numbers=("2",)), "2")
    assert (series.time_name, series.format, series.step.described()) == ("1", "%d.%m.%Y %H:%M:%S", "every 15 minutes")
    assert series.values.tolist() == [2515.5, 2530.5, 2545.5]


def test_the_answers_are_taken(csv):
    def values(text, target="x", **options):
        return series_of(read_table(csv(text), numbers=(target,), **options), target)[0].values.tolist()

    assert values("day;x\n1;1,234\n2;2,345\n", decimal=",") == [1.234, 2.345]
    assert values("day;x\n1;1,234\n2;2,345\n", decimal=".") == [1234, 2345]
    assert values("day;x\n1;2.345\n2;1.234.567,5\n", decimal=",") == [2345, 1234567.5]
    assert values("x;y,z\n1;2,5\n", delimiter=";") == [1]
    assert values("x\ty;z\n1\t2;5\n", delimiter="tab") == [1]
    assert values("1,2\n3,4\n", "2", header=False) == [2, 4]
    assert values("1,2\n3,4\n", "2", header=True) == [4]
    assert read_table(csv("1,2\n3,4\n"), header=False).place(0).endswith("row 1")
    np.testing.assert_array_equal(
        values("day,x\n1,-\n2,#N/A\n3,.\n4,-9999\n5,1\n", missing=("-", ".", "#N/A", "-9999"))[:4], [math.nan] * 4
    )


def test_names_that_are_no_values(csv):
    for names in ("region,2001,2002", "year,x", "May,x", ",x", "t1,x", "20 to 30,x", "1-2,x"):
        cells = ",".join("5" for _ in names.split(","))
        assert list(read_table(csv(f"{names}\n{cells}\n")).cells) == names.split(",")


def test_codes_are_categories(csv):
    table = read_table(csv("x,zone,plain,temp\n1,001,1,0\n2,NA,2,0.5\n3,010,1,1\n"))
    (series,) = series_of(table, "x", columns=["zone", "plain", "temp"])
    assert series.columns["zone"] == ["001", "", "010"]
    assert series.columns["plain"].tolist() == [1, 2, 1]
    assert series.columns["temp"].tolist() == [0, 0.5, 1]
    (series,) = series_of(table, "x", columns=["zone", "plain"], categories=["plain"])
    assert series.columns["plain"] == ["1", "2", "1"]
    (series,) = series_of(table, "x", columns=["zone"], texts=[])
    np.testing.assert_array_equal(series.columns["zone"], [1, np.nan, 10])


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
@hypothesis.example(content=b"x\x01\x06\x00")  # as zlib's streams begin
@given(content=st.one_of(st.binary(max_size=80), _TABLE.map(str.encode), st.text(string.printable, max_size=80).map(str.encode)))
def test_whatever_the_file_holds_it_is_a_series_or_an_input_error(tmp_path: Path, content: bytes):
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    for target, time, id, columns in (
        ("x", None, None, ()),
        ("x", "t", None, ()),
        ("x", ("t", "x"), "t", ("t",)),
        ("", None, None, ()),
    ):
        try:
            series = series_of(read_table(path), target, time, id=id, columns=columns)[0]
        except InputError as error:
            lines = str(error).splitlines()
            if len(lines) != 1:
                pytest.fail(f"expected one line, got {lines}")
        else:
            assert not np.isinf(series.values).any()
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
