"""Files of idx written by hand: images by rows and by pixels, their labels, and what is refused."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given

from broken import broken, read_or_refused, whatever
from carousel.data.idx import read_idx, read_images
from carousel.errors import InputError

IMAGES = b"\0\0\x08\x03" + struct.pack(">3I", 2, 2, 3) + bytes(range(12))
LABELS = b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\x07\x01"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(IMAGES)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(LABELS)
    return tmp_path


def test_images_by_rows_and_by_pixels_with_labels_of_the_usual_name(folder):
    rows = read_images(folder / "train-images-idx3-ubyte")
    assert [item.tolist() for item in rows.items] == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert (rows.labels, rows.names) == (["7", "1"], ["image 1", "image 2"])
    pixels = read_images(folder / "train-images-idx3-ubyte", by="pixels")
    assert [item[:, 0].tolist() for item in pixels.items] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_packed_images_and_labels(tmp_path):
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(IMAGES))
    assert read_images(tmp_path / "images-idx3-ubyte.gz").labels == [None, None]
    (tmp_path / "labels-idx1-ubyte.gz").write_bytes(gzip.compress(LABELS))
    assert read_images(tmp_path / "images-idx3-ubyte.gz").labels == ["7", "1"]


def test_labels_that_are_named(folder):
    (folder / "own").write_bytes(LABELS[:-2] + b"\x00\x05")
    assert read_images(folder / "train-images-idx3-ubyte", labels=folder / "own").labels == ["0", "5"]


@pytest.mark.parametrize(
    ("code", "letter", "value"), [(9, "b", -3), (0xB, "h", -300), (0xC, "i", -70000), (0xD, "f", 0.5), (0xE, "d", 0.1)]
)
def test_every_type_of_number(tmp_path, code, letter, value):
    (tmp_path / "idx").write_bytes(bytes([0, 0, code, 2]) + struct.pack(f">2I2{letter}", 1, 2, value, 1))
    assert read_idx(tmp_path / "idx").tolist() == [[value, 1]]
    np.testing.assert_allclose(read_images(tmp_path / "idx").items[0], [[value], [1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"\0\0\x08", "not an idx file"),
        (b"\0\0\x07\x01" + bytes(8), "not an idx file"),
        (b"\0\0\x08\x00" + bytes(8), "not an idx file"),
        (IMAGES[:10], "cut off within its first 16 bytes"),
        (IMAGES[:-1], "shape (2, 2, 3) needs 28 bytes, it has 27"),
        (IMAGES + b"\0", "shape (2, 2, 3) needs 28 bytes, it has 29"),
        (LABELS, "expected images (n, rows, columns), got an array of shape (2,)"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 0, 2, 3), "expected images (n, rows, columns), got an array of shape (0, 2, 3)"),
        (b"\0\0\x0d\x02" + struct.pack(">2If", 1, 1, float("nan")), "expected a finite number, got nan"),
    ],
)
def test_bad_input_is_one_line(tmp_path, content, message):
    path = tmp_path / "idx"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_images(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


def test_labels_that_do_not_fit(folder):
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 3) + b"\x07\x01\x02")
    with pytest.raises(InputError, match=r"labels-idx1-ubyte: expected a label for each of the 2 images of .*, got 3"):
        read_images(folder / "train-images-idx3-ubyte")
    with pytest.raises(InputError, match=r"expected whole numbers \(n,\) as labels, got uint8 of shape \(2, 2, 3\)"):
        read_images(folder / "train-images-idx3-ubyte", labels=folder / "train-images-idx3-ubyte")


@whatever
@given(content=broken(IMAGES, gzip.compress(IMAGES)), labels=broken(LABELS))
def test_whatever_the_files_hold_it_is_sequences_or_an_input_error(tmp_path, content, labels):
    (tmp_path / "images").write_bytes(content)
    (tmp_path / "labels").write_bytes(labels)
    sequences = read_or_refused(read_images, tmp_path / "images")
    if sequences is not None:
        assert len(sequences.items) == len(sequences.labels) == len(sequences.names) > 0
        assert len({item.shape for item in sequences.items}) == 1
