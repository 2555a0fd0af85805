"""The calendar that a series follows, and the times that come next: series of many calendars, read as a file's are."""

import calendar
from datetime import date, datetime, timedelta

import numpy as np
import pytest

from carousel.data import Table, series_of
from carousel.data.times import Step, contradicts, following
from carousel.errors import InputError

START = date(2020, 1, 1)


def read(texts, time="when", **options):
    (series,) = series_of(Table("t", {"when": texts, "y": ["1"] * len(texts)}), "y", time, **options)
    return series


def coming(texts, count=3, **options):
    series = read(texts, **options)
    return series.step.described(), following(series.times[-1], series.step, count, series.format)


def days(n, *weekdays):
    """The first n days from 2020 on of these weekdays, 0 for Monday."""
    found = (START + timedelta(days=k) for k in range(8 * n))
    return [str(day) for day in found if not weekdays or day.weekday() in weekdays][:n]


def months(n, day, every=1):
    """n days of a month, or the last where there is no such day."""
    pairs = [divmod(every * k, 12) for k in range(n)]
    return [f"{2020 + y}-{m + 1:02}-{min(day, calendar.monthrange(2020 + y, m + 1)[1]):02}" for y, m in pairs]


def nth(n, weekday, which):
    """Of n months, the which-th of a weekday; the last where it is -1."""
    weeks = [[week[weekday] for week in calendar.monthcalendar(2020 + k // 12, k % 12 + 1) if week[weekday]] for k in range(n)]
    return [f"{2020 + k // 12}-{k % 12 + 1:02}-{own[which]:02}" for k, own in enumerate(weeks)]


def last_business_days(n):
    found = []
    for text in months(n, 31):
        day = date.fromisoformat(text)
        found.append(str(day - timedelta(days=max(0, day.weekday() - 4))))
    return found


HOURS = [f"{day} {hour:02}:30" for day in days(30, 0, 1, 2, 3, 4) for hour in range(9, 16)]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (months(40, 31), "monthly, on the last day"),
        (months(40, 30), "monthly, on day 30"),
        (months(40, 1), "monthly"),
        ([f"{text} 18:00" for text in months(40, 31)], "monthly, on the last day"),
        (months(40, 31, every=3), "quarterly, on the last day"),
        (months(40, 15, every=3), "quarterly, on day 15"),
        (months(40, 31, every=12), "yearly, on the last day"),
        ([text[:7] for text in months(40, 1, every=6)], "every 6 months"),
        (last_business_days(40), "monthly, on the last business day"),
        (nth(40, 4, 2), "monthly, on the third Friday"),
        (nth(40, 0, -1), "monthly, on the last Monday"),
        (sorted([*months(20, 1), *months(20, 15)]), "on the days 1, 15 of each month"),
        (sorted([*months(20, 15), *months(20, 31)]), "on the days 15, 31 of each month"),
        (sorted([*months(20, 1), *months(20, 11), *months(20, 21)]), "on the days 1, 11, 21 of each month"),
        (days(70, 0, 1, 2, 3, 4), "on business days"),
        (days(70, 0, 1, 2, 3, 4, 5), "every Monday, Tuesday, Wednesday, Thursday, Friday, Saturday"),
        (days(70, 6, 0, 1, 2, 3), "every Monday, Tuesday, Wednesday, Thursday, Sunday"),
        (days(70, 0, 2, 4), "every Monday, Wednesday, Friday"),
        (days(70), "daily"),
        (days(70, 2), "weekly"),
        (days(71, 2)[::2], "every 14 days"),
        ([f"{text}T08:00+02:00" for text in months(40, 31)], "monthly, on the last day"),
        ([f"{text}T00:00+02:00" for text in months(40, 31)], "monthly, on the last day"),
        (HOURS, "at 35 times of the week"),
        ([str(datetime(2020, 1, 1) + timedelta(minutes=15 * k)) for k in range(90)], "every 15 minutes"),
        ([f"2020-01-01T00:00:{k // 4:02}.{k % 4 * 250:03}Z" for k in range(90)], "every 0.25 seconds"),
        ([str(datetime(2020, 1, 1) + timedelta(minutes=90 * k)) for k in range(90)], "every 90 minutes"),
        ([str(k / 10) for k in range(90)], "every 0.1"),
        ([str(10**17 + k) for k in range(30)], "every 1"),
        ([f"{k * 1e-9:.9f}" for k in range(1, 30)], "every 1e-09"),
    ],
)
def test_the_times_to_come_are_those_that_would_have_come(texts, told):
    assert coming(texts[:-12], 12) == (told, texts[-12:])


@pytest.mark.parametrize("texts", [days(100, 0, 1, 2, 3, 4), months(100, 31), last_business_days(100), HOURS, days(100)])
def test_gaps_leave_the_calendar_as_it_is(texts):
    whole = read(texts[:-3]).step
    with_gaps = read([text for n, text in enumerate(texts[:-3]) if n not in (20, 40, 41)]).step
    assert with_gaps.others == 2
    assert with_gaps.described() == whole.described()
    assert following(texts[-4], with_gaps, 3, "iso") == texts[-3:]


@pytest.mark.parametrize(
    "texts",
    [
        [str(datetime(2020, 1, 1) + timedelta(minutes=k * k)) for k in range(40)],
        ["2023-01-03", "2023-02-09", "2023-03-20"],
        ["1", "2", "4", "8", "16"],
        [text for n, text in enumerate(days(60)) if n % 4],
        ["2023-01-31"],
    ],
)
def test_irregular_times_are_not_continued(texts):
    told, times = coming(texts)
    assert told.startswith("at irregular steps")
    assert times == ["", "", ""]


def test_a_calendar_survives_a_way_through_json():
    for texts in (HOURS, months(30, 31), days(40, 0, 2), ["1", "2", "3"]):
        step = read(texts).step
        again = Step.from_table({**step.__dict__, "slots": list(step.slots)})
        assert again == step
    assert Step.from_table({"size": 3.0, "unit": "month", "others": 0, "longest": 3.0}).described() == "quarterly"  # an older run


def test_what_contradicts_a_calendar():
    business, ends = read(days(60, 0, 1, 2, 3, 4)).step, read(months(30, 31)).step
    for step, texts, expected in [
        (business, days(70, 0, 1, 2, 3, 4)[60:], False),
        (business, days(70, 0, 1, 2, 3, 4)[60:62], False),
        (business, days(20), True),
        (business, months(10, 31), True),
        (ends, months(40, 31)[35:], False),
        (ends, months(40, 31)[-1:], False),
        (ends, [months(40, 31)[n] for n in (1, 4)], False),  # a gap of two
        (ends, months(12, 31, every=3), True),
        (ends, months(12, 30), True),
        (read([str(k) for k in range(30)]).step, ["50", "51", "52"], False),
        (read([str(k) for k in range(30)]).step, ["50", "55", "60"], True),
    ]:
        assert contradicts(read(texts).clock, step) is expected, texts[:3]


def test_the_end_of_the_calendar():
    with pytest.raises(InputError, match="no calendar has the 3 times after '9999-11-30'"):
        following("9999-11-30", read(months(30, 31)).step, 3, "iso")
    with pytest.raises(InputError, match="is none of the times of the series, which are on business days"):
        following("2020-01-04", read(days(30, 0, 1, 2, 3, 4)).step, 3, "iso")


def test_the_largest_whole_numbers_keep_their_order():
    assert read([str(10**17 + k) for k in (0, 1, 2)], time="when").moments.tolist() == [10**17, 10**17 + 1, 10**17 + 2]
    with pytest.raises(InputError, match="stands in the row above already"):
        read([str(10**17), str(10**17)], time="when")
    assert np.issubdtype(read(["1", "2"], time="when").moments.dtype, np.floating)


def test_a_number_that_looks_like_a_date_is_not_counted_on():
    step = read(["1", "2", "3"]).step
    for last in ("20231231", "201912"):
        with pytest.raises(InputError, match=f"'{last}' looks like a date"):
            following(last, step, 1)
        assert following(last, step, 1, "number") == [str(int(last) + 1)]
    assert following("1577836800123", step, 2) == ["1577836800124", "1577836800125"]
