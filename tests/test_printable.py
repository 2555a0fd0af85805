"""What a terminal would obey is shown as its code; every other letter stays."""

import json

import pytest

from carousel.printable import printable


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
