"""Archives: round trips, damage, and the same bytes from every kind of arithmetic."""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carousel
from carousel.compressor import compress, decompress
from carousel.compressor.integers import LOGIT, ONE, squash, stretch
from carousel.compressor.network import OnlineLSTM

SMALL = {"hidden": 8, "table_bits": 8}
TEXT = b"".join(b"%d bottles of beer on the wall, %d bottles of beer.\n" % (n, n) for n in range(60, 20, -1))


@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=300), block=st.sampled_from([1, 7, 100, 1 << 16]), streams=st.sampled_from([1, 2, 3, 32]))
def test_any_bytes_come_back(data: bytes, block: int, streams: int) -> None:
    assert decompress(compress(data, block=block, streams=streams, **SMALL)) == data


@pytest.mark.parametrize("model", ["mixed", "network", "counts"])
@pytest.mark.parametrize("data", [b"", b"a", b"\x00" * 999, TEXT[:1001], bytes(range(256)) * 2])
def test_each_model_brings_them_back(data: bytes, model: str) -> None:
    archive = compress(data, model=model, block=600, window=3, streams=4, **SMALL)
    assert decompress(archive) == data


def test_what_has_been_learned_is_used_in_later_blocks() -> None:
    once, twice = (len(compress(TEXT[:1000] * n, block=1000, **SMALL)) for n in (1, 2))
    assert twice - once < (once - 52) / 2


def test_random_bytes_hardly_grow() -> None:
    data = np.random.default_rng(1).bytes(3000)
    assert len(compress(data, **SMALL)) == len(data) + 72


def test_every_damaged_byte_is_found() -> None:
    archive = compress(TEXT[:50], block=40, model="counts", table_bits=8)
    for at in range(len(archive)):
        damaged = bytearray(archive)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(carousel.InputError, match="archive"):
            decompress(bytes(damaged))


def test_every_truncation_is_found() -> None:
    archive = compress(TEXT[:50], block=40, model="counts", table_bits=8)
    for size in range(len(archive)):
        with pytest.raises(carousel.InputError, match=r"truncated|not an archive"):
            decompress(archive[:size])
    with pytest.raises(carousel.InputError, match="after the end"):
        decompress(archive + b"\n")


def test_what_was_made_for_others_is_refused() -> None:
    archive = compress(b"abc", **SMALL)
    with pytest.raises(carousel.InputError, match="format 2"):
        decompress(archive[:9] + b"\x02" + archive[10:])
    header = archive[:25] + bytes([9, 9, 9])
    with pytest.raises(carousel.InputError, match=r"constriction 9\.9\.9"):
        decompress(header + struct.pack("<I", crc32(header)) + archive[32:])
    with pytest.raises(carousel.InputError, match="not an archive"):
        decompress(gzip.compress(b"abc"))


def test_a_code_that_passes_the_first_check_and_decodes_wrongly_is_refused() -> None:
    archive = bytearray(compress(TEXT[:300], **SMALL))
    start = 32
    length, size, _, _ = struct.unpack_from("<III8s", archive, start)
    code = bytearray(archive[start + 20 : start + 20 + size])
    code[size // 2] ^= 255
    archive[start + 20 : start + 20 + size] = code
    struct.pack_into("<I", archive, start + 8, crc32(code, crc32(struct.pack("<II", length, size))))
    with pytest.raises(carousel.InputError, match=r"another text|damaged"):
        decompress(bytes(archive))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "gru"}, "mixed, network, counts"),
        ({"hidden": 0}, "hidden in 1..1024, got 0"),
        ({"table_bits": 40}, "table_bits"),
        ({"streams": 129}, "streams in 1..128"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(carousel.InputError, match=message):
        compress(b"", **wrong)


def test_the_tables_of_logits() -> None:
    logits = np.arange(-3071, 3072)
    exact = ONE / (1 + np.exp(-logits / LOGIT))
    assert np.abs(squash(logits) - exact).max() <= 1
    assert (np.diff(squash(logits)) >= 0).all()
    p = np.arange(200, ONE - 200)
    assert np.abs(stretch(p) / LOGIT - np.log(p / (ONE - p))).max() < 0.1


def plain_frequencies(network: OnlineLSTM, h: list[float], c: list[float], x: int) -> tuple[list[int], list[float], list[float]]:
    """One step of one stream in plain loops, its sums from the last term to the first."""
    from carousel.compressor.network import GRID, LARGEST, REACH, STEPS, _tables

    sigmoid, tanh, frequency = _tables()
    H = len(h)

    def lookup(table: np.ndarray, value: float) -> float:
        return float(table[int(min(max(np.rint(value * STEPS), -REACH * STEPS), REACH * STEPS)) + REACH * STEPS])

    def backward_sum(terms: list[float]) -> float:
        total = 0.0
        for term in reversed(terms):
            total += term
        return total

    a = [backward_sum([h[j] * float(network.U[j, k]) for j in range(H)]) + float(network.E[x, k]) for k in range(4 * H)]
    i, f, o = ([lookup(sigmoid, a[gate * H + j]) for j in range(H)] for gate in (0, 1, 3))
    g = [lookup(tanh, a[2 * H + j]) for j in range(H)]
    c = [f[j] * c[j] + i[j] * g[j] for j in range(H)]
    y = [float(np.rint(min(max(o[j] * lookup(tanh, c[j]), -LARGEST), LARGEST) * GRID)) / GRID for j in range(H)]
    z = [backward_sum([y[j] * float(network.V[j, k]) for j in range(H)]) + float(network.d[0, k]) for k in range(256)]
    top = max(z)
    return [int(frequency[int(min(np.rint((top - value) * STEPS), REACH * STEPS))]) for value in z], y, c


def test_the_network_gives_the_frequencies_of_plain_loops_to_the_last_bit() -> None:
    network = OnlineLSTM(2, 12, 5, 0.02)
    state = [([0.0] * 12, [0.0] * 12) for _ in range(2)]
    x = [0, 0]
    for t in range(40):
        got = network.frequencies(2)
        for b in range(2):
            expected, *state[b] = plain_frequencies(network, *state[b], x[b])
            assert got[b].tolist() == expected
        x = [TEXT[t], TEXT[t + 700]]
        network.learn(np.array(x))
    assert network.updates == 8


def test_the_gradients_of_the_network_are_those_of_finite_differences() -> None:
    T, rows = 4, 3
    text = np.array([[65 + (3 * t + 5 * b) % 7 for b in range(rows)] for t in range(T)])
    network = OnlineLSTM(rows, 6, T, 0.0)
    found: list[np.ndarray] = []
    network._adam = found.extend  # type: ignore[method-assign, assignment]

    def loss() -> float:
        network.restart(rows)
        total = 0.0
        for t in range(T):
            p = network.frequencies(rows)
            total -= float(np.log(p[np.arange(rows), text[t]] / p.sum(1)).sum())
            network.learn(text[t])
        return total

    loss()
    gradients = list(found)
    for w, gradient, at in zip(
        (network.E, network.U, network.V, network.d), gradients, ((68, 13), (2, 9), (3, 70), (0, 66)), strict=True
    ):
        before, step = w[at], 0.25
        w[at] = before + step
        above = loss()
        w[at] = before - step
        below = loss()
        w[at] = before
        assert (above - below) / (2 * step) == pytest.approx(gradient[at], rel=0.05, abs=0.01)


ARITHMETIC = [
    {},
    {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
    {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default"},
]


@pytest.mark.long
def test_the_same_archive_at_every_width_and_number_of_threads() -> None:
    code = (
        "import sys, hashlib; from carousel.compressor import compress; "
        "print(hashlib.sha256(compress(sys.stdin.buffer.read(), hidden=32, streams=8)).hexdigest())"
    )
    digests = set()
    for variables in ARITHMETIC:
        environment = {**os.environ, **variables}
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], input=TEXT[:2000], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert digests == {sha256(compress(TEXT[:2000], hidden=32, streams=8)).hexdigest().encode() + b"\n"}


@pytest.mark.long
def test_smaller_than_bzip2_on_english() -> None:
    if "CAROUSEL_DATA" not in os.environ:
        pytest.skip("CAROUSEL_DATA is not set")
    with gzip.open(Path(os.environ["CAROUSEL_DATA"]) / "tinyshakespeare/input.txt.gz") as file:
        text = file.read(100_000)
    archive = compress(text)
    assert len(archive) < len(bz2.compress(text, 9))
    assert decompress(archive) == text
