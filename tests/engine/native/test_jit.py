"""Objects kept on disk: found again, rebuilt where damaged, bounded, safe with several processes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from carousel.engine.ir import Loop, Op, Value
from carousel.engine.native import compiled, jit

TEXT = """
define i64 @answer() {
  ret i64 42
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def answer(library: jit.Library) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64)(library.addresses["answer"])()


def unavailable() -> str:
    raise AssertionError("the text was asked for although the object is kept")


def test_the_second_time_no_text_is_needed(folder: Path) -> None:
    assert answer(jit.load("key", ["answer"], lambda: TEXT)) == 42
    assert answer(jit.load("key", ["answer"], unavailable)) == 42
    with pytest.raises(AssertionError, match="asked for"):
        jit.load("another key", ["answer"], unavailable)


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "foreign"])
def test_a_damaged_entry_is_rebuilt(damage: str, folder: Path) -> None:
    jit.load("key", ["answer"], lambda: TEXT)
    (entry,) = folder.glob("*.o")
    data = entry.read_bytes()
    broken = {"cut": data[:-10], "changed": data[:-1] + b"?", "emptied": b"", "foreign": b"x" * 200}[damage]
    entry.write_bytes(broken)
    assert answer(jit.load("key", ["answer"], lambda: TEXT)) == 42
    assert entry.read_bytes() == data


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o707, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_may_write_is_not_used(mode: int, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    jit.load("key", ["answer"], lambda: TEXT)
    (entry,) = folder.glob("*.o")
    forged = jit.compile_text(TEXT.replace("42", "13"))
    entry.write_bytes(hashlib.sha256(forged).digest() + forged)  # whole, by its own digest
    assert answer(jit.load("key", ["answer"], unavailable)) == 13  # this user's own folder
    folder.chmod(mode)
    jit._warn.cache_clear()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for _ in range(2):
        assert answer(jit.load("key", ["answer"], lambda: TEXT)) == 42
    assert answer(jit.load("new", ["answer"], lambda: TEXT)) == 42
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (line,) = caplog.messages
    assert line.startswith(f"carousel: {folder} is not used to keep compiled code: others may write in it; make it yours alone")


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_belongs_to_another_user_is_not_used(what: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jit.load("key", ["answer"], lambda: TEXT)
    if what == "folder":
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
        jit._warn.cache_clear()
    else:
        (entry,) = folder.glob("*.o")
        entry.chmod(0o666)
    with pytest.raises(AssertionError, match="asked for"):
        jit.load("key", ["answer"], unavailable)
    assert answer(jit.load("key", ["answer"], lambda: TEXT)) == 42


def test_the_folder_is_made_for_this_user_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        jit.load("key", ["answer"], lambda: TEXT)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert answer(jit.load("key", ["answer"], unavailable)) == 42


def test_an_unwritable_folder_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path / "file" / "below"))
    assert answer(jit.load("key", ["answer"], lambda: TEXT)) == 42


def test_the_oldest_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        jit.load(f"key {number}", ["answer"], lambda: TEXT)
        time.sleep(0.01)
    size = next(folder.glob("*.o")).stat().st_size
    jit.load("key 0", ["answer"], unavailable)  # used just now, so not the oldest
    monkeypatch.setattr(jit, "CACHE_BYTES", 3 * size)
    jit.load("key 6", ["answer"], lambda: TEXT)
    assert len(list(folder.glob("*.o"))) == 3
    jit.load("key 0", ["answer"], unavailable)
    with pytest.raises(AssertionError):
        jit.load("key 1", ["answer"], unavailable)


def test_several_processes_at_once(folder: Path) -> None:
    code = f"""
import ctypes, importlib.util
found = importlib.util.spec_from_file_location("jit", {jit.__file__!r})  # alone: what it stands on takes seconds to import
jit = importlib.util.module_from_spec(found)
found.loader.exec_module(jit)
for number in range(5):
    library = jit.load(f"key {{number}}", ["answer"], lambda: '''{TEXT}''')
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(library.addresses["answer"])() == 42
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(list(folder.glob("*.o"))) == 5
    assert not list(folder.glob("*.part"))


def test_the_key_says_what_the_code_depends_on() -> None:
    def loop(size: int, literal: float, name: str = "a") -> Loop:
        a, y = Value(name, (size,), torch.float32), Value(name + "y", (size,), torch.float32)
        return Loop((Op("mul", (a, literal), y),), per_step=(a,), written=(y,))

    keys = [compiled.canonical(given) for given in (loop(3, 0.5), loop(3, 0.25), loop(4, 0.5), loop(3, 0.5, "other"))]
    assert len(set(keys[:3])) == 3
    assert keys[0] == keys[3]
