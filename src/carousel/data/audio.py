"""Labelled recordings: sound files in a folder or a tar file, as sequences of log-mel features.

The label is the name of the sub-folder that a recording lies in, or what a pattern finds in the file's
name. A step is `hop` milliseconds: the energy of the latest `window` milliseconds of sound, by bands of
pitch, as its logarithm. Feature i of a recording so knows nothing of the sound after (i + 1) * hop.

Mel scale: m = 2595 log10(1 + f / 700), O'Shaughnessy, Speech Communication, 1987; overlapping triangles
of one height, equally wide on that scale (Davis & Mermelstein, IEEE Trans. ASSP 28(4), 1980).
"""

from __future__ import annotations

import io
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from carousel.data.files import read_bytes, shortened
from carousel.data.sequences import Sequences, may_be_skipped
from carousel.errors import InputError
from carousel.files import SOUNDS

FLOOR = 1e-10
"""Added to an energy before its logarithm; a full-scale sine has 1/4."""

ENDLESS = 0x7FFF0000
"""Bytes of sound from which on a size that a wav file does not have stands for an unknown one: programs that write into a
pipe give 0xFFFFFFFF, 0x80000000, or a little less than 0x7FFFFFFF."""


@dataclass(frozen=True)
class LogMel:
    """How recordings become sequences.

    Attributes:
        mels:    bands, the length of a step's vector.
        window:  milliseconds of sound that a step looks back on.
        hop:     milliseconds from step to step, at most the window.
        rate:    the sample rate that recordings must have, in Hz; None for that of the first one.
    """

    mels: int = 40
    window: float = 25.0
    hop: float = 10.0
    rate: int | None = None

    def __post_init__(self) -> None:
        if self.mels < 1:
            raise InputError(f"recordings: expected mels of at least 1, got {self.mels}")
        if not 0 < self.hop <= self.window < float("inf"):
            raise InputError(
                f"recordings: expected 0 < hop <= window milliseconds, got hop {self.hop:g} and window {self.window:g}"
            )


def read_recordings(
    path: Path | str, how: LogMel, *, label_pattern: str | None = None, skipped: list[str] | None = None
) -> Sequences:
    """The recordings of a folder (its sub-folders included) or a tar file, in the order of their names; or of one sound file.

    Args:
        path:           the folder, the .tar, .tar.gz or .tgz file, or the sound file.
        how:            the features.
        label_pattern:  a regular expression; what its first group matches in a file's name is the label.
                        None: the label is the name of the sub-folder; there is none beside it.
        skipped:        gets the reason for each recording that is left out; None: one that cannot be read is refused.

    Raises:
        InputError: a file that cannot be read or is no sound file, sample rates that differ, a name
            that the pattern does not match; with the name of the recording.
    """
    pattern = None if label_pattern is None else compiled(label_pattern, "--label-pattern", groups=1)
    items, labels, names = [], [], []
    rate, first = how.rate, "training"
    for written, content in sorted(_files(Path(path))):
        name = "".join(letter if letter.isprintable() else "?" for letter in written)
        place = f"{path}: {name}"
        with may_be_skipped(skipped):
            samples, own = read_sound(content, place)
            if own != (rate or own):
                raise InputError(
                    f"{place}: expected a sample rate of {rate} Hz, as {first} has, got {own} Hz; resample one of them"
                )
            label, item = _label(name, pattern, place), log_mel(samples, own, how, place)
            if rate is None:
                rate, first = own, name
            items.append(item)
            labels.append(label)
            names.append(name)
    if not items:
        raise InputError(f"{path}: no recordings there; expected files that end in {', '.join(SOUNDS)}")
    return Sequences(str(path), "numbers", items, labels, names, rate)


def compiled(pattern: str, option: str, groups: int = 0) -> re.Pattern[str]:
    """The regular expression; InputError for one that is none, or has fewer groups."""
    try:
        made = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"{option}: not a regular expression: {shortened(pattern)} ({error})") from None
    if made.groups < groups:
        raise InputError(f"{option}: expected a group in parentheses around what is the label, got {shortened(pattern)}")
    return made


def read_sound(content: bytes, place: str) -> tuple[np.ndarray, int]:
    """(samples (n,), whole numbers as -1..1, channels averaged; sample rate in Hz) of a sound file: wav, FLAC, Ogg, MP3 or AIFF.

    Of an unfinished wav file, or one written into a pipe, whose header does not know how long it is, all that is there is read.
    """
    import soundfile

    try:
        frames, rate = soundfile.read(io.BytesIO(_sized(content, place)), dtype="float64", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise InputError(f"{place}: not a sound file that can be read ({reason}); save it as wav, 16-bit PCM") from None
    if not len(frames):
        raise InputError(f"{place}: the file holds no sound")
    # Their squares are summed.
    wrong = ~(np.abs(frames) < 1e100).all(axis=1)
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(f"{place}: sample {at + 1}: expected finite numbers, got {frames[at].max():g}")
    return frames.mean(axis=1), rate


def _sized(content: bytes, place: str) -> bytes:
    """The wav file with the size of its sound as it is, where whoever wrote it did not know; one that was cut off is refused."""
    if content[:4] not in (b"RIFF", b"RIFX"):
        return content
    order, at = (">" if content[:4] == b"RIFX" else "<"), 12
    while at + 8 <= len(content):
        size, there = struct.unpack_from(f"{order}I", content, at + 4)[0], len(content) - at - 8
        if content[at : at + 4] != b"data":
            at += 8 + size + size % 2
            continue
        finished = struct.unpack_from(f"{order}I", content, 4)[0] == len(content) - 8
        if (size > there and size >= ENDLESS) or (size == 0 and not finished):
            return content[: at + 4] + struct.pack(f"{order}I", there) + content[at + 8 :]
        if size > there:
            raise InputError(f"{place}: the wav file is cut off: it has {there:,} of {size:,} bytes of sound")
        break
    return content


def log_mel(samples: np.ndarray, rate: int, how: LogMel, place: str = "recordings") -> np.ndarray:
    """(T, mels) float64: log(energy + FLOOR) by bands, of T = n // hop steps, one at least.

    Args:
        samples:  (n,) in -1..1; before them is silence, and after them where they are less than a hop.
        rate:     their sample rate in Hz.
        how:      bands, window and hop.
        place:    how a message begins.
    """
    window, hop = sizes(rate, how, place)
    steps = max(len(samples) // hop, 1)
    sound = np.zeros(window - hop + steps * hop)
    kept = samples[: steps * hop]
    sound[window - hop : window - hop + len(kept)] = kept
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]
    return energies(frames, rate, how)


def energies(frames: np.ndarray, rate: int, how: LogMel) -> np.ndarray:
    """(T, mels) float64 of T windows of sound, (T, window)."""
    window = frames.shape[1]
    shape = np.hanning(window + 2)[1:-1]
    points = _points(window)
    power = np.square(np.abs(np.fft.rfft(frames * shape, points))) / shape.sum() ** 2
    logarithms: np.ndarray = np.log(power @ mel_bands(how.mels, points, rate).T + FLOOR)
    return logarithms


class Hops:
    """Features of sound as it comes, a hop of samples after the other: those that `log_mel` has of all of it.

    Args:
        how:  bands, window and hop.
        rate: the sample rate in Hz.

    Attributes:
        hop:  samples that a call takes.
    """

    def __init__(self, how: LogMel, rate: int) -> None:
        self.window, self.hop = sizes(rate, how)
        self.how, self.rate = how, rate
        self.restart()

    def restart(self) -> None:
        """Forget what came; before the next samples is silence."""
        self._latest = np.zeros(self.window)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """(1, mels) after the next samples (hop,) in -1..1."""
        self._latest = np.concatenate([self._latest[self.hop :], samples])
        return energies(self._latest[None], self.rate, self.how)


def sizes(rate: int, how: LogMel, place: str = "recordings") -> tuple[int, int]:
    """Window and hop in samples, at least 2 and 1."""
    window, hop = (round(rate * milliseconds / 1000) for milliseconds in (how.window, how.hop))
    if hop < 1 or window < 2 or window > 10 * rate:
        raise InputError(f"{place}: a window of {how.window:g} ms and a hop of {how.hop:g} ms are no lengths to cut {rate} Hz by")
    return window, hop


def _points(window: int) -> int:
    """The length of the Fourier transform: the next power of two, at least 512, so that low bands have a frequency each."""
    return max(512, 1 << (window - 1).bit_length())


@cache
def mel_bands(mels: int, points: int, rate: int) -> np.ndarray:
    """(mels, points // 2 + 1) weights of the frequencies of a transform in each band, triangles from 0 to rate / 2 Hz."""
    frequencies = np.arange(points // 2 + 1) * rate / points
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)  # Hz
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bands = np.minimum((frequencies - low) / (middle - low), (high - frequencies) / (high - middle)).clip(0)
    if not bands.any(axis=1).all():
        raise InputError(f"recordings: {mels} mels are too many for windows of {points} points at {rate} Hz; give fewer mels")
    return bands


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name within, content) of every recording; hidden ones are left out."""
    if path.is_dir():
        for file in path.rglob("*"):
            name = file.relative_to(path).as_posix()
            if _is_sound(name) and file.is_file():
                yield name, read_bytes(file)
    elif path.suffix.lower() in SOUNDS:
        yield path.name, read_bytes(path)
    else:
        yield from _members(path, read_bytes(path))


def _members(path: Path, content: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                if member.isfile() and _is_sound(member.name):
                    file = archive.extractfile(member)
                    assert file is not None  # it is a file
                    yield member.name, file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: not a tar file, or a damaged one: {error}") from None


def _is_sound(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and name.lower().endswith(SOUNDS) and not any(part.startswith(".") for part in parts)


def _label(name: str, pattern: re.Pattern[str] | None, place: str) -> str | None:
    file = PurePosixPath(name)
    if pattern is None:
        return file.parent.name or None
    found = pattern.search(file.name)
    if found is None or not found[1]:
        raise InputError(f"{place}: --label-pattern {shortened(pattern.pattern)} finds no label in the name {shortened(file.name)}")
    return found[1]
