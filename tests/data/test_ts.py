"""Files of .ts written by hand: what is accepted, and that everything else is one clear line."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broken import broken, read_or_refused, whatever
from carousel.data.ts import read_table, read_ts
from carousel.errors import InputError

TWO_CHANNELS = """\
# Made by hand.
@problemName Gestures
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down
@data
1.0,2.0,3.0:0.5,-0.5,1e-1:up

-1,-2 : 4,5 : down
"""
ONE_CHANNEL = "@problemName Waves\n@univariate true\n@classLabel true 1 2\n@data\n1,2,3:1\n3,2,1:2\n"


STAMPED = """\
@timeStamps true
@dimensions 2
@classLabel true a b
@data
(0,5),(1,6),(4,7):(0,1), (1,2),(4,3):a
(2004-10-01 00:00:00,5),(2004-10-01 00:15:00,6):(2004-10-01,1),(2004-10-01T00:15,2):b
"""
TABLE = "1\t0.5\t-1e-1\t2\n2\t3\t4\tNaN\n"


@pytest.fixture
def ts(tmp_path):
    def write(content):
        path = tmp_path / "gestures.ts"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
def test_several_channels_and_lengths(ts, pack):
    sequences = read_ts(ts(pack(TWO_CHANNELS)))
    assert (sequences.kind, len(sequences)) == ("numbers", 2)
    assert sequences.labels == ["up", "down"]
    assert sequences.names == ["line 10", "line 12"]
    np.testing.assert_array_equal(sequences.items[0], [[1, 0.5], [2, -0.5], [3, 0.1]])
    np.testing.assert_array_equal(sequences.items[1], [[-1, 4], [-2, 5]])
    assert sequences.items[0].dtype == np.float64


def test_one_channel(ts):
    sequences = read_ts(ts(ONE_CHANNEL))
    assert [item.tolist() for item in sequences.items] == [[[1], [2], [3]], [[3], [2], [1]]]
    assert sequences.labels == ["1", "2"]


def test_gaps_at_the_end_of_all_channels_only_fill_up(ts):
    sequences = read_ts(ts("@classLabel true a\n@data\n1,2,NaN,?:3,4,nan,NaN:a\n5,2,1:3,0,4:a\n"))
    assert [item.tolist() for item in sequences.items] == [[[1, 3], [2, 4]], [[5, 3], [2, 0], [1, 4]]]
    stamped = read_ts(ts("@timeStamps true\n@classLabel true a\n@data\n(0,1),(2,3),(3,?):a\n"))
    assert stamped.items[0].tolist() == [[0, 1], [2, 3]]
    for gap in ("1,?,3:1,2,3", "?,2:?,2", "1,2:1,?"):
        with pytest.raises(InputError, match=r"no value|finite"):
            read_ts(ts(f"@classLabel true a\n@data\n{gap}:a\n"))
    with pytest.raises(InputError, match="line 3: expected one number or more, got gaps alone"):
        read_ts(ts("@classLabel true a\n@data\n?,?:NaN,?:a\n"))


def test_header_in_any_letters_and_without_what_is_not_needed(ts):
    sequences = read_ts(ts("@CLASSLABEL TRUE\n@DATA\n1,2:left\n3:right\n"))
    assert sequences.labels == ["left", "right"]
    assert [item.shape for item in sequences.items] == [(2, 1), (1, 1)]


def test_without_labels(ts):
    sequences = read_ts(ts("@classLabel false\n@data\n1,2:3,4\n"))
    assert sequences.labels == [None]
    assert sequences.items[0].tolist() == [[1, 3], [2, 4]]


def test_the_time_since_the_step_before_is_the_first_channel(ts):
    sequences = read_ts(ts(STAMPED))
    assert sequences.labels == ["a", "b"]
    assert [item.tolist() for item in sequences.items] == [[[0, 5, 1], [1, 6, 2], [3, 7, 3]], [[0, 5, 1], [900, 6, 2]]]
    one = read_ts(ts("@timeStamps true\n@univariate true\n@classLabel true a\n@data\n(1.7e9,5),(1700000000.5,6):a\n"))
    assert one.items[0].tolist() == [[0, 5], [0.5, 6]]
    unlabeled = read_ts(ts("@timeStamps true\n@classLabel false\n@data\n(2020-01-31 23:59:00+02:00,5),(2020-01-31 22:00:00Z,6)\n"))
    assert unlabeled.items[0].tolist() == [[0, 5], [60, 6]]


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
def test_a_table_with_the_label_first(ts, pack):
    sequences = read_table(ts(pack(TABLE)))
    assert sequences.labels == ["1", "2"]
    assert [item[:, 0].tolist() for item in sequences.items] == [[0.5, -0.1, 2], [3, 4]]
    assert sequences.names == ["line 1", "line 2"]


def test_labels_of_a_table(ts):
    sequences = read_table(ts("-1\t1\r\n1.0000000e+00\t2\r\n\r\n1.5\t2\nup\t3\n\t7\t8\n"))
    assert sequences.labels == ["-1", "1", "1.5", "up", None]
    assert [len(item) for item in sequences.items] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("1\n", "line 1: expected a label and then numbers, separated by tabs, got '1'"),
        ("1\t2\n1,2,3\n", "line 2: expected a label and then numbers, separated by tabs, got '1,2,3'"),
        ("1\tNaN\tNaN\n", "line 1: expected one number or more, got gaps alone"),
        ("1\t2\tNaN\t3\n", "line 1: step 2, channel 1: expected a finite number, got nan"),
        ("class\tfirst\tsecond\n", "line 1: step 1, channel 1: expected a number, got 'first'"),
    ],
)
def test_a_bad_table_is_one_line_with_the_place(ts, content, message):
    with pytest.raises(InputError) as error:
        read_table(ts(content))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("1,2,3:1\n", "line 1: expected a line that begins with @ or #, or @data, got '1,2,3:1'"),
        ("@classLabel true a\n", "expected a line @data"),
        ("@classLabel true a\n@data\n# nothing\n", "no sequences below @data"),
        (TWO_CHANNELS.replace("-2 ", "? "), "line 12: step 2, channel 1: no value ('?'); fill gaps first"),
        (TWO_CHANNELS.replace("4,5", "4,five"), "line 12: step 2, channel 2: expected a number, got 'five'"),
        (TWO_CHANNELS.replace("4,5", "4,"), "line 12: step 2, channel 2: expected a number, got ''"),
        (TWO_CHANNELS.replace("4,5", "4,nan"), "line 12: step 2, channel 2: expected a finite number, got nan"),
        (TWO_CHANNELS.replace("4,5", "4,1e99"), "line 12: step 2, channel 2: expected a finite number, got 1e+99"),
        (TWO_CHANNELS.replace("4,5", "4"), "line 12: expected channels of one length, got 1 and 2 values"),
        (TWO_CHANNELS.replace(": 4,5 ", ""), "line 12: expected 2 channels, separated by colons, and the label, got 1 channels"),
        (TWO_CHANNELS.replace(": down", ": left"), "line 12: the label 'left' is none of those after @classLabel: up, down"),
        (ONE_CHANNEL.replace("3,2,1:2", "2"), "line 6: expected values, then a colon and the label, got '2'"),
        (ONE_CHANNEL.replace("3,2,1:2", "3:2:2"), "line 6: expected 1 channels"),
        (
            TWO_CHANNELS.replace("@timeStamps false", "@timeStamps true"),
            "line 10: channel 1: expected values with their times, as (0,1.5),(1,2.5), got '1.0,2.0,3.0'",
        ),
        (STAMPED.replace("(4,7)", "(4,7"), "line 5: channel 1: expected values with their times"),
        (STAMPED.replace("(4,7)", "(4,7),"), "line 5: channel 1: expected values with their times"),
        (
            STAMPED.replace("(4,7)", "(soon,7)"),
            "line 5: step 3: expected a time, a number or a date as 2004-10-01 00:15:00, got 'soon'",
        ),
        (STAMPED.replace("(4,7)", "(nan,7)"), "line 5: step 3: expected a time"),
        (STAMPED.replace("(4,", "(0.5,"), "line 5: step 3: its time is before that of the step before"),
        (STAMPED.replace("(4,7)", "(5,7)"), "line 5: the times of channel 2 are not those of channel 1"),
        (STAMPED.replace("(4,7)", "(4,?)"), "line 5: step 3, channel 1: no value ('?'); fill gaps first"),
        ("@targetLabel true\n@data\n1,2:0.5\n", "@targetlabel true: its targets are numbers"),
        (
            TWO_CHANNELS.replace("@dimensions 2", "@dimensions two"),
            "expected @dimensions and a whole number of 1 or more, got 'two'",
        ),
        (b"@data\n\xff\n", "line 2 is not UTF-8 text"),
    ],
)
def test_bad_input_is_one_line_with_the_place(ts, content, message):
    path = ts(content)
    with pytest.raises(InputError) as error:
        read_ts(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@whatever
@given(
    content=broken(*map(str.encode, (TWO_CHANNELS, ONE_CHANNEL, STAMPED, TABLE)), gzip.compress(TWO_CHANNELS.encode())),
    read=st.sampled_from([read_ts, read_table]),
)
def test_whatever_the_file_holds_it_is_sequences_or_an_input_error(tmp_path, content, read):
    path = tmp_path / "any.ts"
    path.write_bytes(content)
    sequences = read_or_refused(read, path)
    if sequences is not None:
        assert len({item.shape[1] for item in sequences.items}) == 1
        assert all(np.isfinite(item).all() and len(item) for item in sequences.items)
        assert len(sequences.items) == len(sequences.labels) == len(sequences.names)
