"""A file's bytes and its lines of text, unpacked where it is gzip; whatever is wrong is one InputError."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from carousel.errors import InputError

LARGEST = 2**30
"""Bytes that a small gzip file may unpack to; more is taken for a mistake, or for malice."""

_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE = " \t\r\v\f"  # a no-break space may be all of a word


def read_bytes(path: Path | str) -> bytes:
    """All bytes of a file; of what is packed where it begins as gzip does, whatever its name."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot read the file: {reason}") from None
    if not content.startswith(_GZIP):
        return content
    most = max(LARGEST, 50 * len(content))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            unpacked = packed.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged or cut off: {error}") from None
    if len(unpacked) > most:
        raise InputError(f"{path}: {len(content):,} bytes that unpack to more than {most:,}; if that is right, unpack it first")
    return unpacked


def numbered_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """(number, text) of each line that is not blank, counted from 1, without the white space (of ASCII) around it."""
    stripped = ((number, text.strip(_WHITE)) for number, text in lines_of(read_bytes(path), path))
    return ((number, text) for number, text in stripped if text)


def lines_of(content: bytes, path: Path | str) -> Iterator[tuple[int, str]]:
    """(number, text) of each line of a file's content, the blank ones too, without its end."""
    content = in_utf8(content, path)
    if not content.strip():
        raise InputError(f"{path}: the file is empty")
    # Only "\n" ends a line: str.splitlines would also cut at letters that may stand within a text.
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            yield number, line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise InputError(f"{path}: line {number} is not UTF-8 text; save the file in UTF-8") from None


def in_utf8(content: bytes, path: Path | str) -> bytes:
    """The content without a byte order mark; where it begins with that of UTF-16, as Windows writes it, in UTF-8."""
    if content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return content.removeprefix(_BYTE_ORDER_MARK)
    try:
        return content.decode("utf-16").encode()
    except UnicodeError:
        raise InputError(f"{path}: not UTF-16 text, as its first bytes say; save the file in UTF-8") from None


def shortened(text: object) -> str:
    """What was found, quoted for a message, cut where it is long."""
    found = repr(text)
    return found if len(found) <= 40 else f"{found[:36]}...{found[-1]}"
