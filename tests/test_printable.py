"""What a terminal or a spreadsheet would obey is shown instead; every other letter stays."""

import csv
import io
import json

import pytest

from carousel.printable import csv_row, printable, without_apostrophe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\u001b[31mred"),
        ("a\tb\nc\r\n", "a\\u0009b\\u000ac\\u000d\\u000a"),
        ("\x9b2J\x7f\x00", "\\u009b2J\\u007f\\u0000"),
        ("\u202egnp\u2066", "\\u202egnp\\u2066"),
        ("naïve 日本 \U0001f469\u200d\U0001f680 \u0645\u06cc\u200c\u062e 10\u00a0000 \\u001b", None),
    ],
)
def test_one_line(text, shown):
    assert printable(text) == (text if shown is None else shown)


def test_lines_keep_their_ends():
    assert printable("a\tb\r\nc\rd\n\x1b", lines=True) == "a\tb\r\nc\\u000dd\n\\u001b"


def test_json_stays_what_it_is():
    record = {"label": "\x1b\x9b\u202e\u2028\n", "n": 1}
    assert json.loads(printable(json.dumps(record, ensure_ascii=False))) == record


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "-", "=", "+1 degree"]
)
def test_a_formula_becomes_a_text(text):
    (cell,) = next(csv.reader(io.StringIO(csv_row([text]), newline="")))
    assert cell == f"'{text}"
    assert without_apostrophe(cell) == text


@pytest.mark.parametrize("text", ["-5", "+3.25", "-1e-7", "-1,5", "-.5", "a=b", "'quoted'", "'t was", "2020-01-01", ""])
def test_numbers_and_other_texts_stay(text):
    assert next(csv.reader([csv_row([text, "x"])])) == [text, "x"]
    assert without_apostrophe(text) == text


def test_values_of_numbers_stay():
    assert csv_row([-5, -0.25, None, float("nan")]) == "-5,-0.25,,nan\n"
