"""Files written aside and renamed: all of the new content, or the old."""

import pytest

from carousel.files import write_aside


def test_it_makes_the_folder_and_replaces_the_file(tmp_path):
    path = tmp_path / "a/b/file.json"
    write_aside(path, "old")
    write_aside(path, b"n\xc3\xa4w")
    assert path.read_text(encoding="utf-8") == "näw"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_aside(tmp_path):
    path = tmp_path / "file.json"
    write_aside(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_aside(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
