"""CoNLL files written by hand: what is accepted, and that everything else is one clear line."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broken import broken, read_or_refused, whatever
from carousel.data.conll import read_conll
from carousel.errors import InputError

OF_2003 = """\
-DOCSTART- -X- -X- O

U.N. NNP I-NP I-ORG
official NN I-NP O

# # I-NP O
Ekeus NNP I-NP I-PER
"""
UNIVERSAL = """\
# sent_id = 1
# text = du pain
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\tE\t_\t0\troot\t_\t_
2\tle\tle\tDET\tR\t_\t1\tdet\t_\t_
2.1\tbon\tbon\tADJ\tA\t_\t_\t_\t_\t_
3\tpain\tpain\tNOUN\tS\t_\t1\tobj\t_\t_

1\t10\u00a0000\t_\tNUM\tN\t_\t0\troot\t_\t_
"""


@pytest.fixture
def conll(tmp_path):
    def write(content, name="any.conll"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, b"\xef\xbb\xbf".__add__, lambda raw: raw.decode().replace("\n", "\r\n").encode("utf-16")]
)
def test_words_and_labels_by_sentence(conll, pack):
    sequences = read_conll(conll(pack(OF_2003.encode())))
    assert (sequences.kind, sequences.names) == ("words", ["line 3", "line 6"])
    assert sequences.items == [["U.N.", "official"], ["#", "Ekeus"]]
    assert sequences.labels == [["I-ORG", "O"], ["O", "I-PER"]]


def test_columns_by_number(conll):
    sequences = read_conll(conll(OF_2003), key="2", label_key="3")
    assert (sequences.items[0], sequences.labels[0]) == (["NNP", "NN"], ["I-NP", "I-NP"])


def test_universal_dependencies(conll):
    path = conll(UNIVERSAL, "fr.conllu")
    sequences = read_conll(path)
    assert sequences.items == [["de", "le", "pain"], ["10\u00a0000"]]
    assert sequences.labels == [["ADP", "DET", "NOUN"], ["NUM"]]
    assert sequences.names == ["line 4", "line 9"]
    assert read_conll(path, label_key="xpos").labels == [["E", "R", "S"], ["N"]]
    assert read_conll(path, key="3", label_key="DEPREL").labels == [["root", "det", "obj"], ["root"]]


@pytest.mark.parametrize(
    ("content", "items"),
    [
        ("a\tX\nNew York\tY\n", [["a", "New York"]]),  # with tabs a word may have blanks
        ("a   X \n b \t Y\n", [["a", "b"]]),
        ("#tag\tX\n#\tY\nb\tX\n", [["#tag", "#", "b"]]),
        ("# id 7 domain=en\na _ _ X\n\n# id 8 domain=en\n# _ _ Y\n", [["a"], ["#"]]),  # MultiCoNER
        ("#begin document (x); part 000\na X\n#end document\n", [["a"]]),  # OntoNotes
        ("\n\n \t\na X\n \nb Y\n\n\n", [["a"], ["b"]]),
    ],
)
def test_what_is_a_word_and_what_is_none(conll, content, items):
    assert read_conll(conll(content)).items == items


def test_one_column_has_no_labels(conll):
    assert read_conll(conll("a\nb\n\nc\n")).labels == [None, None]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "the file is empty"),
        ("# nothing\n\n-DOCSTART-\n", {}, "no words there"),
        ("a X\nb\n", {}, "line 2: expected 2 columns, as in the first line, got 1: 'b'"),
        ("a X\n\nb Y Z\n", {}, "line 3: expected 2 columns, as in the first line, got 3"),
        ("a\tX\n\tY\n", {}, "line 2: expected a word and its label, got '\\tY'"),
        ("a X\n", {"key": "3"}, "--key: expected the number of a column, 1 to 2, got '3'"),
        ("a X\n", {"label_key": "upos"}, "--label-key: expected the number of a column, 1 to 2, got 'upos'"),
        (b"a \xff\n", {}, "line 1 is not UTF-8 text"),
    ],
)
def test_bad_input_is_one_line_with_the_place(conll, content, options, message):
    with pytest.raises(InputError) as error:
        read_conll(conll(content), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@whatever
@given(content=broken(OF_2003.encode(), UNIVERSAL.encode()), name=st.sampled_from(["any.conll", "any.conllu"]))
def test_whatever_the_file_holds_it_is_sequences_or_an_input_error(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    sequences = read_or_refused(read_conll, path)
    if sequences is not None:
        assert len(sequences.items) == len(sequences.labels) == len(sequences.names) > 0
        assert all(
            labels is None or len(labels) == len(item) for item, labels in zip(sequences.items, sequences.labels, strict=True)
        )
