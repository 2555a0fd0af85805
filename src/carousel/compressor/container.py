"""The file of an archive: a header, blocks with checksums, an end.

All numbers are little-endian::

    header  magic (9), version of the format (1), settings (15), version of constriction (3), CRC-32 of these (4)
    block   length of its text (4), of its code (4), CRC-32 of code and lengths (4), BLAKE2b of the text (8), code
    end     0 (4), 0 (4), CRC-32 of the total (4), total length of the text (8)

Where the code would be no shorter than the text, the text stands in its place and the two lengths are equal. The CRC finds damage
before anything is decoded; the digest, whether what was decoded is what was encoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import BinaryIO
from zlib import crc32

import numpy as np

from carousel.compressor.coder import VERSION, Decoder, Encoder, Known
from carousel.compressor.predictor import MODELS, Predictor, Settings
from carousel.errors import InputError

MAGIC = b"\x89CAROUS\r\n"
FORMAT = 1
_HEADER = struct.Struct("<9sB BHHBIBI 3B")
_CHECK = struct.Struct("<I")
_BLOCK = struct.Struct("<III8s")

Moved = Callable[[int, int], None]
"""Called after each block with the bytes read and the bytes written so far."""


def _coder_version() -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in VERSION.split(".")[:3])
    return major, minor, patch


def _read(source: BinaryIO, size: int) -> bytes:
    """`size` bytes, or what there is of them; a pipe may give less at a time."""
    parts = []
    while size > 0 and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=8).digest()


def write_archive(source: BinaryIO, target: BinaryIO, settings: Settings, moved: Moved | None = None) -> tuple[int, int]:
    """Compress all of `source` into `target`; give the lengths of the text and of the archive."""
    s = settings
    header = _HEADER.pack(
        MAGIC, FORMAT, MODELS.index(s.model), s.hidden, s.streams, s.window, s.rate, s.table_bits, s.block, *_coder_version()
    )
    target.write(header + _CHECK.pack(crc32(header)))
    predictor = Predictor(settings)
    total, written = 0, len(header) + _CHECK.size
    while text := _read(source, settings.block):
        encoder = Encoder()
        predictor.code(encoder, len(text), np.frombuffer(text, np.uint8).astype(np.int64))
        code = encoder.finish()
        if len(code) >= len(text):
            code = text
        check = crc32(code, crc32(struct.pack("<II", len(text), len(code))))
        target.write(_BLOCK.pack(len(text), len(code), check, _digest(text)) + code)
        total += len(text)
        written += _BLOCK.size + len(code)
        if moved is not None:
            moved(total, written)
    size = struct.pack("<Q", total)
    target.write(_BLOCK.pack(0, 0, crc32(size), size))
    return total, written + _BLOCK.size


def read_archive(source: BinaryIO, name: str, moved: Moved | None = None) -> Iterator[bytes]:
    """The text of an archive, block by block; each has passed its checks.

    Raises:
        InputError: `name` is no archive, is truncated or damaged, or was made for another version.
    """
    settings = _read_header(source, name)
    predictor = Predictor(settings)
    total, number, read = 0, 0, _HEADER.size + _CHECK.size
    while True:
        number += 1
        head = _read(source, _BLOCK.size)
        if len(head) < _BLOCK.size:
            raise InputError(f"{name}: truncated; the archive ends before block {number}")
        length, size, check, digest = _BLOCK.unpack(head)
        damaged = InputError(f"{name}: damaged in block {number}; what comes before it has {total} bytes")
        if length == 0:
            if size or check != crc32(digest) or struct.unpack("<Q", digest)[0] != total:
                raise damaged
            break
        if length > settings.block or size > length:
            raise damaged
        code = _read(source, size)
        if len(code) < size:
            raise InputError(f"{name}: truncated; the archive ends within block {number}")
        if check != crc32(code, crc32(head[:8])):
            raise damaged
        if size == length:
            text = code
            predictor.code(Known(), length, np.frombuffer(text, np.uint8).astype(np.int64))
        else:
            try:
                text = predictor.code(Decoder(code), length, None).astype(np.uint8).tobytes()
            except AssertionError:  # what constriction raises for a code that no text has
                raise damaged from None
        if _digest(text) != digest:
            raise InputError(f"{name}: block {number} decodes to another text than was encoded; nothing of it is written")
        total, read = total + length, read + _BLOCK.size + size
        yield text
        if moved is not None:
            moved(read, total)
    if source.read(1):
        raise InputError(f"{name}: there is something after the end of the archive")


def _read_header(source: BinaryIO, name: str) -> Settings:
    header, check = _read(source, _HEADER.size), _read(source, _CHECK.size)
    if header[: len(MAGIC)] != MAGIC[: len(header)] or not header:
        raise InputError(f"{name}: not an archive of `carousel compress`")
    if len(check) < _CHECK.size:
        raise InputError(f"{name}: truncated; the archive ends within its header")
    _, format_, model, hidden, streams, window, rate, table_bits, block, *coder = _HEADER.unpack(header)
    if format_ != FORMAT:
        raise InputError(f"{name}: an archive of format {format_}; this version of carousel reads format {FORMAT}")
    if _CHECK.unpack(check)[0] != crc32(header) or model >= len(MODELS):
        raise InputError(f"{name}: damaged in its header")
    if tuple(coder[:2]) != _coder_version()[:2]:
        made = ".".join(map(str, coder))
        raise InputError(f"{name}: coded by constriction {made}, and {VERSION} is installed; pip install constriction=={made}")
    try:
        return Settings(MODELS[model], hidden, streams, window, rate, table_bits, block)
    except InputError as error:
        raise InputError(f"{name}: damaged in its header: {error}") from None
