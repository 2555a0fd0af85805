"""The formats of dates: found, read and written alike, for the forms that tools write."""

import re
from datetime import datetime

import numpy as np
import pytest

from carousel.data import Table, series_of
from carousel.data.dates import date_of, formats_of, moments, written
from carousel.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-02-03", datetime(2020, 2, 3)),
        ("2020-02", datetime(2020, 2, 1)),
        ("2020-02-03T14:05:06.789", datetime(2020, 2, 3, 14, 5, 6, 789000)),
        ("2020/02/03", datetime(2020, 2, 3)),
        ("2020-2-3", datetime(2020, 2, 3)),
        ("2020.02.03", datetime(2020, 2, 3)),
        ("2020/2", datetime(2020, 2, 1)),
        ("02/2020", datetime(2020, 2, 1)),
        ("23/02/2020", datetime(2020, 2, 23)),
        ("23.2.2020 9:05", datetime(2020, 2, 23, 9, 5)),
        ("2/23/2020", datetime(2020, 2, 23)),
        ("2/23/2020 1:05:06 PM", datetime(2020, 2, 23, 13, 5, 6)),
        ("02/23/20, 12:05 am", datetime(2020, 2, 23, 0, 5)),
        ("Feb 03, 2020", datetime(2020, 2, 3)),
        ("February 3, 2020", datetime(2020, 2, 3)),
        ("3 Feb 2020", datetime(2020, 2, 3)),
        ("03-FEB-2020", datetime(2020, 2, 3)),
        ("03-Feb-20", datetime(2020, 2, 3)),
        ("Feb-20", datetime(2020, 2, 1)),
        ("2020 Feb", datetime(2020, 2, 1)),
        ("Mon, 03 Feb 2020", datetime(2020, 2, 3)),
        ("Monday 3 February 2020 10:00", datetime(2020, 2, 3, 10)),
        ("20200203", datetime(2020, 2, 3)),
        ("20200203 14:05", datetime(2020, 2, 3, 14, 5)),
        ("202002", datetime(2020, 2, 1)),
        ("2020020314", datetime(2020, 2, 3, 14)),
        ("20200203140506", datetime(2020, 2, 3, 14, 5, 6)),
        ("1580738706", datetime(2020, 2, 3, 14, 5, 6)),
        ("1580738706789", datetime(2020, 2, 3, 14, 5, 6, 789000)),
        ("1580738706789123", datetime(2020, 2, 3, 14, 5, 6, 789123)),
        ("1580738706789123456", datetime(2020, 2, 3, 14, 5, 6, 789123)),
        ("2020Q2", datetime(2020, 4, 1)),
        ("2020-Q2", datetime(2020, 4, 1)),
        ("Q4 2020", datetime(2020, 10, 1)),
        ("2020-W05", datetime(2020, 1, 27)),
    ],
)
def test_a_text_is_read_and_written_back(text, expected):
    (format,) = formats_of([text])
    assert date_of(text, format) == expected
    assert written([date_of(text, format)], format, text) == [text]


@pytest.mark.parametrize("text", ["2020-02-03T12:00Z", "2020-02-03 12:00:00+05:30", "2020-02-03T12:00:00.000Z"])
def test_a_zone_is_written_as_it_was(text):
    assert written([date_of(text, "iso")], "iso", text) == [text]


@pytest.mark.parametrize(
    "text",
    "12.5 -5 1e5 2020.5 2020,5 2020 1-2 3/4 192.168.0.1 May Feb$20 $3.50 2020-13 99999999 201913 31/31/2020 2020Q5 12:30".split(),
)
def test_what_is_no_date(text):
    assert formats_of([text]) == []


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["03/02/2020", "04/02/2020"], ["%d/%m/%Y", "%m/%d/%Y"]),
        (["03/02/2020", "13/02/2020"], ["%d/%m/%Y"]),
        (["03/02/2020", "03/13/2020"], ["%m/%d/%Y"]),
        (["1.2.20", "2.2.20"], ["%-d.%-m.%y", "%-m.%-d.%y", "%y.%-m.%d"]),
        (["01/01/2020", "02/02/2020"], ["%d/%m/%Y"]),  # both readings are the same dates
        (["20200101", "20201301"], []),
        (["202001", "20200101"], []),
        (["9/1/2020", "10/1/2020", "13/1/2020"], ["%-d/%-m/%Y"]),
    ],
)
def test_the_order_of_day_and_month_is_that_of_all_rows(texts, formats):
    assert formats_of(texts) == formats


@pytest.mark.parametrize("format", ["day/month", "%d/%m/%Y %z", "epoch", ""])
def test_a_format_that_is_none_is_refused(format):
    with pytest.raises(InputError, match=re.escape(f"date_format {format!r}: ")):
        moments(["03/02/2020"], format)


def read(when, **options):
    (series,) = series_of(Table("t", {"when": when, "y": ["1"] * len(when)}), "y", **options)
    return series


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (["Feb 03, 2020", "Feb 02, 2020"], "row 3, column 'when': 'Feb 02, 2020' is before the row above; sort the rows by time"),
        (["13/02/2020", "12/02/2020"], "row 3, column 'when': '12/02/2020' is before the row above"),
        (["20200203", "20200202", "20200201"], "row 3, column 'when': '20200202' is before the row above"),
        (["1580738706789", "1580738706788", "1580738706787"], "row 3, column 'when': '1580738706788' is before the row above"),
        (["2026-01-15", "01/20/2026"], "row 3, column 'when': expected a date like '2026-01-15', got '01/20/2026'"),
        (
            ["2015-10-25 02:00", "2015-10-25 02:00"],
            "row 3, column 'when': the time '2015-10-25 02:00' stands in the row above already; --id",
        ),
        (["", "2020-02-03"], "row 2, column 'when': the time is missing; give it, or delete the row"),
        (["NA", "13/02/2020"], "row 2, column 'when': the time is missing"),
        (["13/02/2020", "32/02/2020"], "row 3, column 'when': expected a date like '13/02/2020', got '32/02/2020'"),
        (["13/02/2020", "14/02/20"], "row 3, column 'when': expected a date like '13/02/2020', got '14/02/20'"),
        (
            ["03/02/2020", "04/02/2020"],
            "row 2, column 'when': day and month of '03/02/2020' look alike; say which: "
            "--date-format %d/%m/%Y or --date-format %m/%d/%Y",
        ),
    ],
)
def test_rows_that_cannot_be_read_as_they_stand_are_named(when, message):
    with pytest.raises(InputError) as error:
        read(when)
    assert message in str(error.value)


def test_the_format_may_be_given():
    assert read(["03/02/2020", "04/02/2020"], date_format="%d/%m/%Y").moments.tolist() == [1580688000, 1580774400]
    assert read(["03/02/2020", "03/03/2020"], date_format="%m/%d/%Y").format == "%m/%d/%Y"
    assert read(["202001", "202002"], time="when", date_format="number").moments.tolist() == [202001, 202002]
    with pytest.raises(InputError, match="row 3, column 'when': expected a date of the format %d/%m/%Y, got '2020-02-03'"):
        read(["03/02/2020", "2020-02-03"], time="when", date_format="%d/%m/%Y")


def test_rows_are_sorted_where_it_is_asked():
    series = read(["Feb 03, 2020", "Feb 02, 2020", "Feb 01, 2020"], sort=True)
    assert series.times == ["Feb 01, 2020", "Feb 02, 2020", "Feb 03, 2020"]
    assert np.diff(series.moments).tolist() == [86400, 86400]
    with pytest.raises(InputError, match="row 4, column 'when': the time '2020-02-02' stands in row 2 already"):
        read(["2020-02-02", "2020-02-01", "2020-02-02"], sort=True)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({"n": ["1", "2", "3"]}, "row"),
        ({"price": ["1580738706", "1580738700", "1580738709"]}, "row"),  # neither rises nor falls
        ({"price": ["201901", "201902", "201913"]}, "row"),
        ({"n": ["12.5", "13.5", "14.5"], "when": ["3 Feb 2020", "4 Feb 2020", "5 Feb 2020"]}, "when"),
        ({"month": ["201901", "201902", "201903"]}, "month"),
        ({"month": ["201901", "201902", "201903"], "asked": ["202001", "202002", "202003"]}, "month"),
    ],
)
def test_the_column_of_times_is_found(cells, found):
    (series,) = series_of(Table("t", {**cells, "y": ["1", "2", "3"]}), "y", columns=[name for name in cells if name == "asked"])
    assert series.time_name == found
