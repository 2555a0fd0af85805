"""A language model of a text: the run folder, the table, its uses, and what is refused."""

import json
import math
from dataclasses import replace

import pytest

from carousel.errors import InputError
from carousel.jobs.language import Settings, evaluate, generate, load, predict, stream, train

RHYME = "the cat sat on the mat; a rat ran at the cat.\n"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "rhyme.txt"
    path.write_text(RHYME * 60)
    return path


@pytest.fixture(scope="module")
def settings(text):
    return Settings(text, hidden=24, embedding=8, length=40, sequences=960, evaluate_every=240, rate=0.02)


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "a"
    return folder, train(settings, folder, progress=False)


def test_the_network_learns_the_rhyme(finished, settings):
    folder, result = finished
    bits = {row["method"]: row["bits/character"] for row in result.rows}
    assert list(bits) == ["every symbol alike", "frequencies", "runs of 5", "lstm"]
    assert bits["every symbol alike"] == pytest.approx(math.log2(len(set(RHYME)) + 1))
    assert bits["lstm"] < 1.0 < bits["frequencies"]
    assert result.counts == {"training": 2346, "validation": 138, "test": 276}
    assert len(result.sample) == 500
    assert load(folder) == (settings, result)
    assert evaluate(folder) == result.rows


def test_a_run_repeats_bit_for_bit_and_stands_alone(finished, settings, tmp_path):
    folder, result = finished
    again = train(settings, tmp_path / "b", progress=False)
    assert again.rows == result.rows
    assert again.sample == result.sample
    assert train(load(folder)[0], folder, resume=True, progress=False).rows == result.rows


def test_generate_writes_the_rhyme(finished):
    folder, _ = finished
    likeliest = "".join(generate(folder, "the cat sat", length=20, temperature=0))
    assert len(likeliest) == 20
    assert {*likeliest.split()[1:-1]} <= {*RHYME.split()}
    assert "".join(generate(folder, "the", length=50, seed=3)) == "".join(generate(folder, "the", length=50, seed=3))
    assert "".join(generate(folder, "the", length=0)) == ""


def test_a_text_without_an_end_of_line_begins_with_its_first_symbol(tmp_path):
    (tmp_path / "one.txt").write_text("cab " * 400)
    settings = Settings(tmp_path / "one.txt", hidden=16, embedding=8, length=16, sequences=320, evaluate_every=160, rate=0.03)
    result = train(settings, tmp_path / "run", progress=False)
    for written in (result.sample, "".join(generate(tmp_path / "run", length=40, temperature=0))):
        assert set(written) <= set("cab ")
    assert "".join(generate(tmp_path / "run", length=40, seed=3)) == "".join(generate(tmp_path / "run", " ", length=40, seed=3))
    for prompt in ("\n", "cab\n", "Zé"):
        with pytest.raises(InputError, match="which the training part has not; leave such characters out"):
            generate(tmp_path / "run", prompt)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"prompt": ""}, "a prompt of one symbol"), ({"length": -1}, "length of at least 0"), ({"temperature": -1.0}, "temperature")],
)
def test_generate_refuses(finished, options, told):
    with pytest.raises(InputError, match=told):
        generate(finished[0], **options)


def test_surprising_lines_take_more_bits(finished, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(RHYME * 3 + "zzz qqq xxx\n" + RHYME)
    lines = list(predict(finished[0], other))
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["symbols"] for line in lines] == [len(RHYME)] * 3 + [12, len(RHYME)]
    assert max(lines, key=lambda line: line["bits"])["line"] == 4
    (_, own) = evaluate(finished[0], other)
    # The first symbol of all has no bits.
    whole = sum(line["bits"] * (line["symbols"] - (line["line"] == 1)) for line in lines)
    assert own["bits/character"] == pytest.approx(whole / (len(RHYME) * 4 + 12 - 1), abs=1e-3)


def test_a_stream_gives_the_bits_of_predict(finished, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(RHYME * 2)
    answer = stream(finished[0])
    told = [json.loads(answer(line)) for line in RHYME.splitlines(keepends=True) * 2]
    assert [one["bits"] for one in told] == pytest.approx([line["bits"] for line in predict(finished[0], other)], abs=2e-3)
    assert told[-1]["next"] == "t"


def test_bytes_are_read_and_written(text, tmp_path):
    path = tmp_path / "raw"
    path.write_bytes("é\xe8\x00".encode("latin-1") + "naïve ".encode() * 200)
    settings = Settings(path, unit="byte", hidden=8, embedding=4, length=20, sequences=64, evaluate_every=32)
    result = train(settings, tmp_path / "run", progress=False)
    assert list(result.rows[0]) == ["method", "bits/byte"]
    assert result.rows[0]["bits/byte"] == 8
    "".join(generate(tmp_path / "run", "na", length=30)).encode()  # whatever was drawn is text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"length": 4000}, "its training part has"),
        ({"validation": 0.0}, "validation between 0 and 1"),
        ({"order": 0}, "order of at least 1"),
        ({"model": "lstn"}, "unknown model 'lstn'"),
        ({"test": 0.0001}, "the test part of .* is empty"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(settings, tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        train(replace(settings, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_text_in_utf_16_is_the_same_text(finished, tmp_path):
    for name, encoding in (("a.txt", "utf-8"), ("b.txt", "utf-16"), ("c.txt", "utf-8-sig")):
        (tmp_path / name).write_text(RHYME * 3, encoding=encoding)
    same = [list(predict(finished[0], tmp_path / name)) for name in ("a.txt", "b.txt", "c.txt")]
    assert same[0] == same[1] == same[2]
    (tmp_path / "d.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(InputError, match="not UTF-16 text, as its first bytes say; save the file in UTF-8"):
        list(predict(finished[0], tmp_path / "d.txt"))
