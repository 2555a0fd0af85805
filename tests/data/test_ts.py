"""Files of .ts written by hand: what is accepted, and that everything else is one clear line."""

import gzip

import numpy as np
import pytest
from hypothesis import given

from broken import broken, read_or_refused, whatever
from carousel.data.ts import read_ts
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


def test_header_in_any_letters_and_without_what_is_not_needed(ts):
    sequences = read_ts(ts("@CLASSLABEL TRUE\n@DATA\n1,2:left\n3:right\n"))
    assert sequences.labels == ["left", "right"]
    assert [item.shape for item in sequences.items] == [(2, 1), (1, 1)]


def test_without_labels(ts):
    sequences = read_ts(ts("@classLabel false\n@data\n1,2:3,4\n"))
    assert sequences.labels == [None]
    assert sequences.items[0].tolist() == [[1, 3], [2, 4]]


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
        (TWO_CHANNELS.replace("@timeStamps false", "@timeStamps true"), "@timestamps true: time stamps are not read"),
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
@given(content=broken(TWO_CHANNELS.encode(), ONE_CHANNEL.encode(), gzip.compress(TWO_CHANNELS.encode())))
def test_whatever_the_file_holds_it_is_sequences_or_an_input_error(tmp_path, content):
    path = tmp_path / "any.ts"
    path.write_bytes(content)
    sequences = read_or_refused(read_ts, path)
    if sequences is not None:
        assert len({item.shape[1] for item in sequences.items}) == 1
        assert all(np.isfinite(item).all() and len(item) for item in sequences.items)
        assert len(sequences.items) == len(sequences.labels) == len(sequences.names)
