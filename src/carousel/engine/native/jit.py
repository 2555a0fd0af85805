"""From LLVM's text to functions in this process, by way of an object file kept on disk.

`load` answers in a few milliseconds where the object is at hand; else it calls for the text,
optimises it for the host, and keeps the object under its key. Entries are written aside and then
renamed, so several processes may start at once; each begins with a digest of its contents, so a
damaged one is noticed and built anew. A digest says nothing of who wrote it: what runs in this process is only read
from a folder and a file that belong to this user and that nobody else may write.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import hashlib
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from carousel.engine.lock import LOCK
from carousel.engine.native.math import C_FUNCTIONS

CACHE_BYTES = 256 * 2**20
"""The folder's bound; the entries used longest ago go first."""

DIGEST = hashlib.sha256().digest_size

_count = 0


@cache
def host() -> tuple[str, str]:
    """(name, features) of this machine's processor, as LLVM writes them."""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@cache
def vector_bits() -> int:
    """The width of this machine's vector registers."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 512
    return 256 if features.get("avx2") else 128


@cache
def _target_machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    name, features = host()
    return target.create_target_machine(cpu=name, features=features, opt=2, reloc="pic", codemodel="small", jit=True)


@cache
def _linker() -> llvm.LLJIT:
    _target_machine()
    # JITLink lays a library's code and constants side by side. The older linker maps them apart, and ends the process
    # where a full address space puts more than 2 GiB between them.
    return llvm.create_lljit_compiler(use_jit_link=True)


@cache
def _symbols() -> dict[str, int]:
    libm, process = ctypes.CDLL(ctypes.util.find_library("m")), ctypes.CDLL(None)
    found = {name: getattr(libm, name) for name in C_FUNCTIONS} | {name: getattr(process, name) for name in LIBC}
    return {name: address(function) for name, function in found.items()}


def address(function: Any) -> int:
    """Where a C function begins."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def compile_text(text: str, unroll: bool = False) -> bytes:
    """The object file of a module of LLVM's text, optimised for this machine.

    `unroll` lets LLVM unroll loops: it doubles the time to compile and pays in the matrix kernel only.
    """
    with LOCK:  # LLVM's front door here is not made for several threads
        machine = _target_machine()
        module = llvm.parse_assembly(text)
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        # The vectors are explicit: LLVM's own vectorisers would only cost time.
        options = llvm.create_pipeline_tuning_options(speed_level=1)
        options.loop_unrolling = unroll
        options.loop_vectorization = False
        options.slp_vectorization = False
        options.loop_interleaving = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        module.verify()  # a wrong module would end the process when it is made into code
        return machine.emit_object(module)


class Library:
    """Functions loaded into this process; they stay as long as this object does."""

    def __init__(self, image: bytes, functions: list[str], symbols: Mapping[str, int] = MappingProxyType({})) -> None:
        global _count
        with LOCK:
            _count += 1
            builder = llvm.JITLibraryBuilder().add_object_img(image)
            for name, address in {**_symbols(), **symbols}.items():
                builder.import_symbol(name, address)
            for name in functions:
                builder.export_symbol(name)
            self._tracker = builder.link(_linker(), f"carousel{_count}")
            self.addresses = {name: self._tracker[name] for name in functions}


LIBC = ["memcpy", "memmove", "memset"]
"""What LLVM may call of itself where it sees a copy."""


def load(
    key: str,
    functions: list[str],
    text: Callable[[], str],
    symbols: Mapping[str, int] = MappingProxyType({}),
    unroll: bool = False,
) -> Library:
    """The functions of the module that `key` stands for; `text()` is asked for where it is not at hand.

    `symbols` are the addresses of functions it calls beside those of the C library. The key says
    everything that the text depends on; the processor and llvmlite are added here.
    """
    digest = hashlib.sha256("\n".join([key, llvmlite.__version__, *host(), sys.platform]).encode()).hexdigest()
    folder = cache_folder()
    reason = _distrust(folder)
    if reason is not None:
        _warn(f"{folder} is not used to keep compiled code: {reason}; make it yours alone (chmod 700), or set CAROUSEL_CACHE")
        return Library(compile_text(text(), unroll), functions, symbols)
    image = _read(folder, digest)
    if image is not None:
        try:
            return Library(image, functions, symbols)
        except RuntimeError:  # whole, yet not what we can link: build it anew
            pass
    image = compile_text(text(), unroll)
    _write(folder, digest, image)
    return Library(image, functions, symbols)


def cache_folder() -> Path:
    """Where objects are kept: $CAROUSEL_CACHE, else carousel/ in the user's cache folder."""
    if given := os.environ.get("CAROUSEL_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carousel"


def _distrust(folder: Path) -> str | None:
    """Why machine code from a folder must not be run; None where it may be, or where there is no folder yet."""
    try:
        return _others_may_write(folder.stat())
    except OSError:
        return None


def _others_may_write(status: os.stat_result) -> str | None:
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    return "others may write in it" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


@cache
def _warn(message: str) -> None:
    """Once a process."""
    logging.getLogger("carousel").warning("carousel: %s", message)


def _read(folder: Path, digest: str) -> bytes | None:
    path = folder / f"{digest}.o"
    try:
        with path.open("rb") as file:
            data = b"" if _others_may_write(os.fstat(file.fileno())) else file.read()
    except OSError:
        return None
    if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the bound drops what was used longest ago
    return data[DIGEST:]


def _write(folder: Path, digest: str, image: bytes) -> None:
    """Keep an object; a folder that cannot be written costs only the next process's time."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _distrust(folder) is not None:  # made by another meanwhile
            return
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            file.write(hashlib.sha256(image).digest() + image)
        os.replace(file.name, folder / f"{digest}.o")
        _drop_oldest(folder)
    except OSError:
        return


def _drop_oldest(folder: Path) -> None:
    entries = []
    for entry in folder.iterdir():
        try:
            status = entry.stat()
        except FileNotFoundError:  # another process was here
            continue
        if entry.suffix in (".o", ".part"):
            entries.append((status.st_mtime, status.st_size, entry))
    excess = sum(size for _, size, _ in entries) - CACHE_BYTES
    for _, size, entry in sorted(entries):
        if excess <= 0:
            break
        entry.unlink(missing_ok=True)
        excess -= size
