"""Files of JSON lines written by hand: what is accepted, and that everything else is one clear line."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given

from broken import broken, read_or_refused, whatever
from carousel.data.jsonl import read_jsonl, words
from carousel.errors import InputError

TEXTS = b'{"id": 7, "text": "A fine film!", "label": "good"}\n\n{"text": "Dull. Isn\'t it?", "label": "bad"}\n'
NUMBERS = b'{"values": [1, 2.5, -3], "label": 0}\n{"values": [4], "label": 1}\n'
VECTORS = b'{"values": [[1, 2], [3, 4]], "label": true}\n{"values": [[5, 6]], "label": false}\n'
ARRAY = b'[{"text": "A fine film!", "label": 1.0},\n{"text": "Dull.", "label": null}]'
TAGGED = b'{"words": ["The", "cat"], "labels": ["DET", "NOUN"]}\n{"words": ["sat"], "labels": ["VERB"]}\n'


@pytest.fixture
def jsonl(tmp_path):
    def write(content):
        path = tmp_path / "any.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda raw: raw.decode().encode("utf-16")], ids=["plain", "gzip", "utf-16"])
def test_texts_by_words(jsonl, pack):
    sequences = read_jsonl(jsonl(pack(TEXTS)))
    assert sequences.kind == "words"
    assert sequences.items == [["a", "fine", "film", "!"], ["dull", ".", "isn't", "it", "?"]]
    assert sequences.labels == ["good", "bad"]
    assert sequences.names == ["line 1", "line 3"]


def test_texts_by_bytes(jsonl):
    sequences = read_jsonl(jsonl('{"text": "né", "label": "x"}'), by="bytes")
    assert (sequences.kind, sequences.items) == ("bytes", ["né".encode()])


def test_numbers_and_vectors(jsonl):
    numbers = read_jsonl(jsonl(NUMBERS))
    assert (numbers.kind, numbers.labels) == ("numbers", ["0", "1"])
    assert [item.tolist() for item in numbers.items] == [[[1], [2.5], [-3]], [[4]]]
    vectors = read_jsonl(jsonl(VECTORS))
    assert vectors.labels == ["true", "false"]
    assert [item.tolist() for item in vectors.items] == [[[1, 2], [3, 4]], [[5, 6]]]
    assert vectors.items[0].dtype == np.float64


def test_words_as_they_stand_with_a_label_each(jsonl):
    tagged = read_jsonl(jsonl(TAGGED))
    assert tagged.items == [["The", "cat"], ["sat"]]
    assert tagged.labels == [["DET", "NOUN"], ["VERB"]]


def test_keys_by_name_and_labels_that_are_not_there(jsonl):
    path = jsonl('{"review": "good", "text": "other", "stars": 5}\n{"review": "bad"}\n')
    sequences = read_jsonl(path, key="review", label_key="stars")
    assert sequences.items == [["good"], ["bad"]]
    assert sequences.labels == ["5", None]


def test_labels_of_every_kind_are_texts(jsonl):
    found = ["a ", 1, 1.0, "1", 1e3, -1.0, True, "true", False, None, 2**60]
    sequences = read_jsonl(jsonl("".join(json.dumps({"text": "x", "label": label}) + "\n" for label in found)))
    assert sequences.labels == ["a", "1", "1", "1", "1000", "-1", "true", "true", "false", None, str(2**60)]
    steps = read_jsonl(jsonl('{"tokens": ["a", "b", "c"], "tags": [0, 1.0, true]}'))
    assert (steps.items, steps.labels) == ([["a", "b", "c"]], [["0", "1", "true"]])


def test_nulls_and_nans_at_the_end_only_fill_up(jsonl):
    lines = ('{"values": [1, 2, NaN, null]}', '{"values": [3, NaN]}', '{"values": [4, 5, 6]}')
    assert [item[:, 0].tolist() for item in read_jsonl(jsonl("\n".join(lines))).items] == [[1, 2], [3], [4, 5, 6]]
    vectors = read_jsonl(jsonl('{"values": [[1, 2], [3, 4], [NaN, null], [null, NaN]]}'))
    assert vectors.items[0].tolist() == [[1, 2], [3, 4]]
    for gap in ("[1, null, 2]", "[NaN]", "[null]", "[[1, 2], [3, null]]", "[NaN, NaN]"):
        with pytest.raises(InputError, match="line 1: "):
            read_jsonl(jsonl(f'{{"values": {gap}}}'))


def of_windows(content):
    return content.decode().encode("utf-16")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, b"\xef\xbb\xbf".__add__, of_windows])
def test_an_array_is_as_its_lines(jsonl, pack):
    for content in (TEXTS, NUMBERS, VECTORS, TAGGED):
        lines = read_jsonl(jsonl(content))
        objects = [json.loads(line) for line in content.splitlines() if line]
        for indent in (None, 2):
            array = read_jsonl(jsonl(pack(b" \r\n" + json.dumps(objects, indent=indent).encode())))
            assert (array.kind, array.labels) == (lines.kind, lines.labels)
            assert list(map(str, array.items)) == list(map(str, lines.items))
            assert array.names == ["entry 1", "entry 2"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_rows_of_a_table_are_objects(tmp_path, pack):
    path = tmp_path / ("reviews.csv" if pack is bytes else "reviews.csv.gz")
    path.write_bytes(pack(b'text;label;stars\r\n"A fine; film\r\nfor two.";good;5\r\n"So ""dull""";;1\r\n'))
    sequences = read_jsonl(path)
    assert sequences.items == [["a", "fine", ";", "film", "for", "two", "."], ["so", '"', "dull", '"']]
    assert (sequences.labels, sequences.names) == (["good", None], ["row 2", "row 3"])
    assert read_jsonl(path, key="text", label_key="stars").labels == ["5", "1"]
    path.write_bytes(pack(b"text,label\na,x\n,y\n"))
    with pytest.raises(InputError, match="row 3: no sequence: expected the key 'text', got 'label'"):
        read_jsonl(path)


def test_words_keep_inner_apostrophes_and_marks_by_themselves():
    assert words("Don't stop... it's 'quoted', 3.5 naïve_x") == (
        ["don't", "stop", ".", ".", ".", "it's", "'", "quoted", "'", ",", "3", ".", "5", "naïve_x"]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ('{"text": "a", "label"', "line 1: not JSON: "),
        ('{"text": "a"}\n[1, 2]', "line 2: expected a JSON object as {...}, got [1, 2]"),
        ("[" * 100_000, "not JSON: nested or written beyond what can be read"),
        (
            '{"title": "a", "label": 1}',
            "line 1: no sequence: expected the key one of text, words, tokens, values, sequence, input, got 'title', 'label'",
        ),
        ('{"text": "a"}\n{"txt": "b"}', "line 2: no sequence: expected the key 'text', got 'txt'"),
        ('{"text": " "}', "line 1: the text is empty"),
        ('{"text": "a"}\n{"text": [1]}', "line 2: expected a sequence of words, as above, got one of numbers"),
        ('{"text": 5}', "line 1: expected a text, or a list of words, numbers or vectors, got 5"),
        ('{"text": []}', "line 1: expected a text, or a list of words, numbers or vectors, got []"),
        ('{"text": ["a", 1]}', "line 1: expected numbers, got 'a'"),
        ('{"values": [1, null, 2]}', "line 1: expected numbers, got None"),
        ('{"values": [1, true]}', "line 1: expected numbers, got True"),
        ('{"values": [[[1]]]}', "line 1: expected numbers, got [1]"),
        ('{"values": [[1, 2], [3]]}', "line 1: expected numbers, or vectors of numbers of one length"),
        ('{"values": [[], []]}', "line 1: expected at least one number"),
        ('{"values": [1, NaN, 2]}', "line 1: step 2, channel 1: expected a finite number, got nan"),
        ('{"values": [1, 1e99]}', "line 1: step 2, channel 1: expected a finite number, got 1e+99"),
        (f'{{"values": [1{"0" * 400}]}}', "line 1: expected numbers"),
        ('{"values": [[1, 2]]}\n{"values": [[1]]}', "line 2: expected 2 numbers a step, as above, got 1"),
        ('{"text": "a", "label": 1.5}', "line 1: expected a label that is a text or a whole number, or a list of such, got 1.5"),
        ('{"text": "a", "label": ""}', "line 1: expected a label that is a text or a whole number"),
        ('{"words": ["a", "b"], "labels": ["X"]}', "line 1: expected a label for each of the 2 steps, got 1"),
        ('{"text": "\\ud800"}', "line 1: half of a surrogate pair in '?'"),
        (b'{"text": "\xff"}', "line 1 is not UTF-8 text"),
        (b"\xff\xfe{", "not UTF-16 text, as its first bytes say; save the file in UTF-8"),
        (b'[{"text": "a"},\n {"text": "\xff"}]', "line 2 is not UTF-8 text"),
        ('{"text": "a", "label": NaN}', "line 1: expected a label that is a text or a whole number"),
        ('{"text": "a", "label": 1e300}', "line 1: expected a label that is a text or a whole number"),
        ('{"text": "a", "label": {"is": 1}}', "line 1: expected a label that is a text or a whole number"),
        ('{"words": ["a", "b"], "labels": ["X", null]}', "line 1: expected a label that is a text or a whole number"),
        ("[]", "expected one object or more, found none"),
        ('[{"text": "a"},\n{"text": "b"}', "not JSON: Expecting ',' delimiter: line 2"),
        ('[{"text": "a"}, {"values": [1]}]', "entry 2: no sequence: expected the key 'text', got 'values'"),
        ('[{"text": "a"}, 3]', "entry 2: expected a JSON object as {...}, got 3"),
    ],
)
def test_bad_input_is_one_line_with_the_place(jsonl, content, message):
    path = jsonl(content)
    with pytest.raises(InputError) as error:
        read_jsonl(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@whatever
@given(content=broken(TEXTS, NUMBERS, VECTORS, TAGGED, ARRAY))
def test_whatever_the_file_holds_it_is_sequences_or_an_input_error(tmp_path, content):
    path = tmp_path / "any.jsonl"
    path.write_bytes(content)
    for by in ("words", "bytes"):
        sequences = read_or_refused(read_jsonl, path, by=by)
        if sequences is not None:
            assert all(len(item) for item in sequences.items)
            assert len(sequences.items) == len(sequences.labels) == len(sequences.names)
