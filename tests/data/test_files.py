"""Bytes and lines of files: packed ones, empty ones, and bytes that are no text."""

import gzip
from pathlib import Path

import pytest

from carousel.cli import main
from carousel.data.files import numbered_lines, read_bytes, shortened
from carousel.errors import InputError


def test_a_packed_file_is_unpacked_whatever_its_name(tmp_path):
    for name, content in (("plain.ts", b"abc"), ("packed.ts.gz", gzip.compress(b"abc")), ("packed.ts", gzip.compress(b"abc"))):
        (tmp_path / name).write_bytes(content)
        assert read_bytes(tmp_path / name) == b"abc"


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing: cannot read the file: No such file"):
        read_bytes(tmp_path / "nothing")
    with pytest.raises(InputError, match="cannot read the file: Is a directory"):
        read_bytes(tmp_path)
    with pytest.raises(InputError, match="cannot read the file: embedded null byte"):
        read_bytes("a\0b")
    packed = gzip.compress(bytes(range(256)) * 40)
    (tmp_path / "half.gz").write_bytes(packed[:100])
    (tmp_path / "changed.gz").write_bytes(packed[:100] + b"\xff\xff\xff" + packed[103:])
    for name in ("half.gz", "changed.gz"):
        with pytest.raises(InputError, match="the gzip file is damaged or cut off"):
            read_bytes(tmp_path / name)


def test_lines_are_counted_from_one_and_blank_ones_left_out(tmp_path):
    (tmp_path / "text").write_bytes("\ufeffone\r\n\n  two\u2028same \n".encode())
    assert list(numbered_lines(tmp_path / "text")) == [(1, "one"), (3, "two\u2028same")]


def test_an_empty_file_and_a_byte_that_is_no_text(tmp_path):
    (tmp_path / "empty").write_bytes(b" \n\n")
    with pytest.raises(InputError, match="empty: the file is empty"):
        list(numbered_lines(tmp_path / "empty"))
    (tmp_path / "latin").write_bytes(b"one\n\xe9t\xe9\n")
    with pytest.raises(InputError, match="latin: line 2 is not UTF-8 text; save the file in UTF-8"):
        list(numbered_lines(tmp_path / "latin"))


def test_what_is_quoted_is_kept_short():
    assert shortened("a b") == "'a b'"
    assert len(shortened("x" * 99)) == 40


@pytest.mark.parametrize("job", ["forecast", "classify", "tag", "language"])
def test_a_small_file_that_unpacks_to_very_much_is_refused(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("carousel.data.files.LARGEST", 2**20)
    path = tmp_path / f"a.{'csv' if job == 'forecast' else 'txt' if job == 'language' else 'jsonl'}.gz"
    path.write_bytes(gzip.compress(b"0\n" * 2**20) * 4)  # of several members
    options = ["--target", "x"] if job == "forecast" else []
    assert main(["train", job, str(path), *options, "--out", str(tmp_path / "run")]) == 2
    size = path.stat().st_size
    assert (
        f"{path}: {size:,} bytes that unpack to more than 1,048,576; if that is right, unpack it first" in capsys.readouterr().err
    )
    path.write_bytes(gzip.compress(b"0\n" * 2**19))
    assert len(read_bytes(path)) == 2**20
