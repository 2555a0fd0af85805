"""Files that are whole or not there: written aside, then renamed; their digests; and one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from carousel.errors import InputError

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
"""What the names of recordings end in, in small letters."""


def write_aside(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or whoever comes after a crash, finds the old content or all of the new.

    The folder is made where it is missing. OSError (a full disk, no permission) names the file and leaves the old one.
    """
    with writing_aside(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing_aside(path: Path) -> Iterator[BinaryIO]:
    """The same for a content that comes piece by piece: it takes its name when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = beside(path)
    try:
        with named(path), aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def beside(path: Path) -> Path:
    """Where this process writes what becomes `path` when it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what processes that were killed left `beside` a file of that name, or any file, in the folder."""
    for path in folder.iterdir() if folder.is_dir() else ():
        left = re.fullmatch(r"\.(.+)\.(\d+)", path.name)
        if left and name in (None, left[1]) and not _runs(int(left[2])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an OSError of a file's content (No space left on device) name the file, as one of opening it does."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is there. The system gives it back when the process ends, however it ends.

    Raises:
        InputError: another process holds it.
    """
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path.parent}: another process is training in this folder; wait until it ends") from None
        yield


def digest(path: Path) -> str:
    """The SHA-256 of a file's content; of a folder, that of its files' names and contents."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted((str(file.relative_to(path)), file) for file in path.rglob("*") if file.is_file())
    return hashlib.sha256("".join(f"{digest(file)} {name}\n" for name, file in files).encode()).hexdigest()
